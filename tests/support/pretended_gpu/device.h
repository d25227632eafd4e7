// The pretended GPUs themselves: how many there are, which one is current, their memory, and their random states.
#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <sstream>

namespace pretended {
using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;

int64_t read_number(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoll(text) : otherwise;
}

struct Gpu {
  int64_t number;  // among all GPUs of the machine, as in CUDA_VISIBLE_DEVICES
  int64_t bytes = read_number("PRETENDED_GPU_BYTES", 16'000'000'000), limit = bytes;
  std::atomic<int64_t> used{0}, peak{0};
  at::Generator random = at::detail::createCPUGenerator();
  explicit Gpu(int64_t number) : number(number) {}
};

// The numbers in CUDA_VISIBLE_DEVICES up to the first that no GPU has, and none when one is repeated, as CUDA reads it.
std::deque<Gpu> find_visible() {
  const auto count = read_number("PRETENDED_GPUS", 1);
  const char* variable = std::getenv("CUDA_VISIBLE_DEVICES");
  std::deque<Gpu> found;
  if (!variable) {
    for (int64_t number = 0; number < count; number++) found.emplace_back(number);
    return found;
  }
  std::istringstream numbers(variable);
  for (std::string text; std::getline(numbers, text, ',');) {
    char* end = nullptr;
    const auto number = std::strtoll(text.c_str(), &end, 10);
    if (end == text.c_str() || number < 0 || number >= count) break;
    if (std::ranges::any_of(found, [&](const Gpu& gpu) { return gpu.number == number; })) return {};
    found.emplace_back(number);
  }
  return found;
}

// The first call starts CUDA: later changes of CUDA_VISIBLE_DEVICES have no effect, and processes that are forked
// afterwards cannot use the GPUs. As with CUDA, torch.cuda.is_available() is such a call, and device_count() is not.
pid_t started_in = 0;
std::deque<Gpu>& gpus() {
  static std::deque<Gpu> visible = [] {
    started_in = getpid();
    return find_visible();
  }();
  return visible;
}

thread_local DeviceIndex current = 0;

DeviceIndex count_gpus() { return static_cast<DeviceIndex>(gpus().size()); }

void check_usable(DeviceIndex index) {
  TORCH_CHECK(index < count_gpus(), "CUDA error: invalid device ordinal");
  TORCH_CHECK(started_in == getpid(), "Cannot re-initialize CUDA in forked subprocess");
}

void set_current(DeviceIndex index) {
  if (index < 0) return;
  check_usable(index);
  current = index;
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  DeviceIndex deviceCount() const noexcept override { return count_gpus(); }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device device) const override { set_current(device.index()); }
  void uncheckedSetDevice(Device device) const noexcept override { current = std::max<DeviceIndex>(device.index(), 0); }
  Device exchangeDevice(Device device) const override {
    const auto before = getDevice();
    setDevice(device);
    return before;
  }
  // All work is done at once, so that there is nothing to wait for.
  c10::Stream getStream(Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device.index() < 0 ? getDevice() : device);
  }
  c10::Stream getDefaultStream(Device device) const override { return getStream(device); }
  c10::Stream getNewStream(Device device, int) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return getStream(stream.device()); }
  void record(void**, const c10::Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}
};

// Memory of the current GPU. Each block begins with its size and GPU, which are needed when it is freed.
struct DeviceMemory final : c10::Allocator {
  struct Block {
    int64_t size;
    Gpu* gpu;
  };
  static constexpr size_t HEADER = 64;  // keeps the alignment

  c10::DataPtr allocate(size_t size) override {
    const Device device(DeviceType::CUDA, current);
    check_usable(current);
    if (size == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, device};
    auto& gpu = gpus()[current];
    const auto used = gpu.used += size;
    if (used > gpu.limit) {
      gpu.used -= size;
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", size, " bytes. GPU ",
                       static_cast<int>(current), " has ", gpu.limit - gpu.used, " bytes free (pretended)");
    }
    gpu.peak = std::max<int64_t>(gpu.peak, used);
    auto* block = static_cast<char*>(std::malloc(HEADER + size));
    *reinterpret_cast<Block*>(block) = {static_cast<int64_t>(size), &gpu};
    return {block + HEADER, block, &release, device};
  }
  static void release(void* block) {
    const auto [size, gpu] = *static_cast<Block*>(block);
    gpu->used -= size;
    std::free(block);
  }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};

// Pinned memory of the host. CUDA's allocator reserves the next power of two, which is what is counted.
struct PinnedMemory final : c10::Allocator {
  static inline std::mutex lock;
  static inline std::map<const void*, int64_t> blocks;
  static inline int64_t used = 0, peak = 0;

  c10::DataPtr allocate(size_t size) override {
    void* block = std::malloc(std::max<size_t>(size, 1));
    std::lock_guard guard(lock);
    blocks[block] = std::bit_ceil(size);
    used += blocks[block];
    peak = std::max(peak, used);
    return {block, block, &release, Device(DeviceType::CPU)};
  }
  static void release(void* block) {
    {
      std::lock_guard guard(lock);
      used -= blocks[block];
      blocks.erase(block);
    }
    std::free(block);
  }
  static bool contains(const void* pointer) {
    std::lock_guard guard(lock);
    auto next = blocks.upper_bound(pointer);
    return next != blocks.begin() && pointer < static_cast<const char*>((--next)->first) + next->second;
  }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};

DeviceMemory device_memory;
PinnedMemory pinned_memory;

// What the parts of torch that know nothing of CUDA ask about it.
struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool hasCUDA() const override { return count_gpus() > 0; }
  bool isAvailable() const override { return hasCUDA(); }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return count_gpus(); }
  int getNumGPUs() const override { return count_gpus(); }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { set_current(index); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    const auto before = current;
    set_current(index);
    return before;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override { return exchangeDevice(index); }
  bool isPinnedPtr(const void* pointer) const override { return PinnedMemory::contains(pointer); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  const at::Generator& getDefaultGenerator(DeviceIndex index) const override {
    return gpus().at(index < 0 ? current : index).random;
  }
  void deviceSynchronize(DeviceIndex) const override {}
};
}  // namespace pretended
