// Two "cuda" devices whose memory is the host's, their generators, and the hooks by which torch finds them.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <vector>

namespace device_double {

constexpr c10::DeviceIndex kDevices = 2;
inline thread_local c10::DeviceIndex current = 0;

inline c10::Device device_of(c10::DeviceIndex index) {
  return {c10::DeviceType::CUDA, index < 0 ? current : index};
}

// Copies to the host that were not waited for: until then the host reads what was never written.
class LateCopies {
 public:
  void add(std::function<void()> copy) {
    std::lock_guard<std::mutex> hold(lock_);
    copies_.push_back(std::move(copy));
  }

  void wait() {
    ++waits_;
    std::vector<std::function<void()>> now;
    {
      std::lock_guard<std::mutex> hold(lock_);
      now.swap(copies_);
    }
    for (auto& copy : now) copy();
  }

  // A copy from pageable memory returns when it is done, and brings no other copy to its end.
  void count_wait() { ++waits_; }

  int64_t waits() const { return waits_; }

 private:
  std::mutex lock_;
  std::vector<std::function<void()>> copies_;
  std::atomic<int64_t> waits_{0};
};

inline LateCopies late_copies;

struct Memory final : at::Allocator {
  at::DataPtr allocate(size_t bytes) override {
    void* start = c10::alloc_cpu(bytes);
    return {start, start, &c10::free_cpu, device_of(current)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

inline Memory memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::CUDA;

  c10::DeviceType type() const override { return static_type; }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  c10::Device getDevice() const override { return device_of(current); }
  c10::Device exchangeDevice(c10::Device device) const override {
    const auto before = getDevice();
    setDevice(device);
    return before;
  }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() < kDevices, "CUDA error: invalid device ordinal");
    uncheckedSetDevice(device);
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0) current = device.index();
  }

  // One stream, whose work is done when the call returns.
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return getStream(stream.device()); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

// Says "cuda" and draws from a generator of the host, which the kernels of the host can use.
struct Generator final : c10::GeneratorImpl {
  at::Generator host;

  Generator(c10::DeviceIndex index, at::Generator inner)
      : GeneratorImpl(device_of(index), c10::DispatchKeySet(c10::DispatchKey::CUDA)), host(std::move(inner)) {}

  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return impl()->seed(); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  void set_state(const c10::TensorImpl& state) override { impl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return impl()->get_state(); }
  GeneratorImpl* clone_impl() const override { return new Generator(device_.index(), host.clone()); }

  static at::Generator make(c10::DeviceIndex index) {
    return at::make_generator<Generator>(index, at::detail::createCPUGenerator());
  }

 private:
  c10::GeneratorImpl* impl() const { return host.unsafeGetGeneratorImpl(); }
};

inline at::Generator& default_generator(c10::DeviceIndex index) {
  static std::array<at::Generator, kDevices> all = {Generator::make(0), Generator::make(1)};
  return all.at(device_of(index).index());
}

inline at::Generator host_generator(const at::Generator& of_device) {
  return static_cast<Generator*>(of_device.unsafeGetGeneratorImpl())->host;
}

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}

  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return kDevices; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  c10::DeviceIndex current_device() const override { return current; }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(c10::DeviceIndex index) const override { current = index; }
  void deviceSynchronize(c10::DeviceIndex) const override { late_copies.wait(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex index) const override { return default_generator(index); }
  at::Generator getNewGenerator(c10::DeviceIndex index) const override { return Generator::make(index); }
  bool isPinnedPtr(const void*) const override { return false; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  at::Allocator* getCUDADeviceAllocator() const override { return &memory; }
};

}  // namespace device_double
