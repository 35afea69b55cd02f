// Every function of torch for the two devices: the kernel of the host on the same memory, after what a GPU refuses.
#include "device.h"
#include "refusals.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <limits>
#include <utility>

namespace device_double {

REGISTER_ALLOCATOR(c10::DeviceType::CUDA, &memory);
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

using at::Tensor;
using Options = std::optional<at::ScalarType>;

const c10::DispatchKeySet kOnDevice(c10::DispatchKey::CUDA);

// The same memory as a tensor of the host.
Tensor on_host(const Tensor& x) {
  if (!x.is_cuda()) return x;
  auto seen = at::from_blob(x.numel() ? x.data_ptr() : nullptr, x.sizes(), x.strides(),
                            x.options().device(at::kCPU).requires_grad(false));
  if (x.is_conj()) seen = seen.conj();
  return x.is_neg() ? seen._neg_view() : seen;
}

// What a kernel of the host allocated, from here on memory of the device.
Tensor on_device(const Tensor& made, c10::Device device) {
  auto* owner = new Tensor(made);
  return at::for_blob(made.numel() ? made.data_ptr() : nullptr, made.sizes())
      .strides(made.strides())
      .deleter([owner](void*) { delete owner; })
      .options(made.options().device(device))
      .target_device(device)
      .make_tensor();
}

// The tensors of one call, of which each stands for one of the device while the kernel of the host runs.
class Exchange {
 public:
  explicit Exchange(c10::Device device) : device_(device) {}

  // Kernels of the host resize what they are given as ``out``, which a view of foreign memory cannot be.
  Tensor down(const Tensor& x, bool out) {
    if (!x.defined() || !x.is_cuda()) return x;
    auto host = out ? at::empty({0}, x.options().device(at::kCPU)) : on_host(x);
    pairs_.emplace_back(host, x);
    return host;
  }

  Tensor up(const Tensor& host) const {
    if (!host.defined()) return host;
    for (const auto& [own, x] : pairs_)
      if (own.is_same(host)) return x;
    return on_device(host, device_);
  }

  // Results that lie in memory of their own go where they were asked for.
  void write_back() const {
    for (const auto& [host, x] : pairs_) {
      if (host.data_ptr() == x.data_ptr()) continue;
      if (x.sizes() != host.sizes()) x.resize_(host.sizes());
      on_host(x).copy_(host);
    }
  }

 private:
  c10::Device device_;
  std::vector<std::pair<Tensor, Tensor>> pairs_;
};

c10::IValue argument_down(const c10::IValue& value, bool out, Exchange& exchange) {
  if (value.isTensor()) return exchange.down(value.toTensor(), out);
  if (value.isDevice()) return c10::Device(c10::kCPU);
  if (value.isGenerator()) return host_generator(value.toGenerator());
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor x : value.toTensorList()) list.push_back(exchange.down(x, out));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const std::optional<Tensor> x : value.toOptionalTensorList())
      list.push_back(x ? std::optional(exchange.down(*x, false)) : std::nullopt);
    return list;
  }
  return value;
}

c10::IValue result_up(const c10::IValue& value, const Exchange& exchange) {
  if (value.isTensor()) return exchange.up(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<Tensor> list;
  for (const Tensor x : value.toTensorList()) list.push_back(exchange.up(x));
  return list;
}

bool is_generator(const c10::Argument& argument) {
  return argument.type()->str().find("Generator") != std::string::npos;
}

bool is_mask(const std::optional<Tensor>& index) {
  return index && index->is_cuda() && (index->scalar_type() == at::kBool || index->scalar_type() == at::kByte);
}

// Whether the host must know values of the device before it can go on: how large the result is, or the result itself.
bool waits(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  if (op.hasTag(at::Tag::data_dependent_output)) return true;
  for (const auto& value : torch::jit::last(stack, op.schema().arguments().size())) {
    if (!value.isOptionalTensorList()) continue;
    for (const std::optional<Tensor> index : value.toOptionalTensorList())
      if (is_mask(index)) return true;
    return false;
  }
  return op.hasTag(at::Tag::dynamic_output_shape);
}

void any_function(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto given = schema.arguments().size();
  Operands operands(op);
  for (const auto& value : torch::jit::last(*stack, given)) operands.see_argument(value);
  const auto device = operands.device();
  if (waits(op, *stack)) late_copies.wait();
  Exchange exchange(device);
  for (size_t i = 0; i < given; ++i) {
    const auto& argument = schema.arguments()[i];
    auto& value = torch::jit::peek(*stack, i, given);
    if (value.isNone() && op.hasTag(at::Tag::nondeterministic_seeded) && is_generator(argument))
      value = default_generator(device.index());
    value = argument_down(value, argument.is_out(), exchange);
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  exchange.write_back();
  const auto made = schema.returns().size();
  for (size_t i = 0; i < made; ++i) {
    auto& value = torch::jit::peek(*stack, i, made);
    value = result_up(value, exchange);
  }
}

c10::Device chosen(std::optional<c10::Device> device) { return device_of(device ? device->index() : -1); }

Tensor empty(at::IntArrayRef size, Options dtype, std::optional<at::Layout>, std::optional<c10::Device> device,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  c10::DeviceGuard guard(chosen(device));
  return at::detail::empty_generic(size, &memory, kOnDevice, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, Options dtype, std::optional<at::Layout>,
                     std::optional<c10::Device> device, std::optional<bool>) {
  c10::DeviceGuard guard(chosen(device));
  return at::detail::empty_strided_generic(size, stride, &memory, kOnDevice, c10::dtype_or_default(dtype));
}

// A value that nobody takes for a result.
void poison(Tensor& x) {
  if (x.is_floating_point() || x.is_complex()) x.fill_(std::numeric_limits<double>::quiet_NaN());
  else if (x.scalar_type() == at::kBool) x.fill_(true);
  else x.fill_(x.scalar_type() == at::kByte ? 0xee : -99);
}

Tensor& copy_(Tensor& to, const Tensor& from, bool non_blocking) {
  auto target = on_host(to);
  if (!to.is_cuda() && non_blocking) {
    auto arriving = at::empty_like(target).copy_(on_host(from).expand_as(target));
    poison(target);
    late_copies.add([target, arriving]() mutable { target.copy_(arriving); });
    return to;
  }
  if (!to.is_cuda()) late_copies.wait();
  else if (!from.is_cuda() && !non_blocking) late_copies.count_wait();
  target.copy_(on_host(from));
  return to;
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  auto target = to;
  return copy_(target, from, non_blocking);
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const Tensor& x) {
  late_copies.wait();
  return on_host(x).item();
}

const Tensor& resize_(const Tensor& x, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  c10::DeviceGuard guard(x.device());
  x.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  const size_t bytes = (x.numel() + x.storage_offset()) * x.itemsize();
  const auto& storage = x.storage();
  if (bytes > storage.nbytes()) {
    auto larger = memory.allocate(bytes);
    std::memcpy(larger.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr(std::move(larger));
    storage.set_nbytes(bytes);
  }
  return x;
}

Tensor& set_storage(Tensor& x, at::Storage storage, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::set_storage_cpu_(x, std::move(storage), offset, size, stride);
}

Tensor& set_whole_storage(Tensor& x, at::Storage storage) {
  const auto count = static_cast<int64_t>(storage.nbytes() / x.itemsize());
  return at::native::set_storage_cpu_(x, std::move(storage), 0, {count}, {});
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&any_function>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar_dense);
  m.impl("resize_", resize_);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
  m.impl("set_.source_Storage", set_whole_storage);
  m.impl("set_.source_Storage_storage_offset", set_storage);
}

TORCH_LIBRARY(device_double, m) {
  m.def("synchronize() -> ()", []() { late_copies.wait(); });
  m.def("waits() -> int", []() { return late_copies.waits(); });
  m.def("exchange_device(int index) -> int", [](int64_t index) {
    const auto before = std::exchange(current, device_of(static_cast<c10::DeviceIndex>(index)).index());
    return static_cast<int64_t>(before);
  });
  m.def("set_default_generator(Generator? generator) -> ()", [](std::optional<at::Generator> generator) {
    default_generator(generator->device().index()) = *generator;
  });
}

}  // namespace device_double

namespace at {
using CUDAHooks = device_double::Hooks;
REGISTER_CUDA_HOOKS(CUDAHooks);
}  // namespace at
