// What a GPU refuses and the host would do: two devices in one call, a generator of the host, products of integers.
#pragma once

#include "device.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string>
#include <unordered_set>

namespace device_double {

using Names = std::unordered_set<std::string>;

// Pointwise functions by nature that do not carry torch's tag; like those that do, they take 0-dim tensors of the host.
inline const Names kTakeHostScalars = {
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::masked_fill",
    "aten::masked_fill_", "aten::where", "aten::fill_", "aten::floor_divide", "aten::floor_divide_",
    "aten::remainder", "aten::copysign"};
// Indices may lie on the host, whatever their shape.
inline const Names kTakeHostIndices = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"};
inline const Names kProducts = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm",
                                "aten::mv", "aten::addmv", "aten::addmv_", "aten::dot"};

class Operands {
 public:
  explicit Operands(const c10::OperatorHandle& op)
      : name_(op.operator_name().name),
        scalars_(op.hasTag(at::Tag::pointwise) || kTakeHostScalars.count(name_)),
        indices_(kTakeHostIndices.count(name_)),
        product_(kProducts.count(name_)) {}

  void see(const at::Tensor& x) {
    if (!x.defined() || x.unsafeGetTensorImpl()->is_wrapped_number()) return;
    TORCH_CHECK(!product_ || !c10::isIntegralType(x.scalar_type(), true), "\"", name_, "_cuda\" not implemented for '",
                x.scalar_type(), "'");
    if (!x.is_cuda()) {
      if (x.dim() > 0 ? !indices_ : !scalars_) host_ = true;
      return;
    }
    TORCH_CHECK(!device_ || *device_ == x.device(), "Expected all tensors to be on the same device, but found at least "
                "two devices, ", *device_, " and ", x.device(), "! (", name_, ")");
    device_ = x.device();
  }

  void see_generator(const at::Generator& generator) const {
    TORCH_CHECK(generator.device().is_cuda(), "Expected a 'cuda' device type for generator but found '",
                generator.device().type(), "' (", name_, ")");
  }

  void see_argument(const c10::IValue& value) {
    if (value.isTensor()) see(value.toTensor());
    else if (value.isGenerator()) see_generator(value.toGenerator());
    else if (value.isTensorList()) for (const at::Tensor x : value.toTensorList()) see(x);
    else if (value.isOptionalTensorList())
      for (const std::optional<at::Tensor> x : value.toOptionalTensorList()) if (x) see(*x);
  }

  // The device that does the work.
  c10::Device device() const {
    TORCH_CHECK(!(device_ && host_), "Expected all tensors to be on the same device, but found at least two devices, ",
                *device_, " and cpu! (", name_, ")");
    return device_.value_or(device_of(current));
  }

 private:
  std::string name_;
  bool scalars_, indices_, product_;
  bool host_ = false;
  std::optional<c10::Device> device_;
};

}  // namespace device_double
