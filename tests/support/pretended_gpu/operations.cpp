// GPUs that a torch without CUDA believes in. Their tensors are in the host's memory and are computed by the CPU's
// kernels, but operations refuse what CUDA refuses. What this cannot show is listed in __init__.py.
//
// Written for torch 2.13, whose internals it uses. device.h has the GPUs themselves.
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <set>
#include <string>
#include <vector>

#include "device.h"

namespace pretended {
using at::Tensor;
using c10::IValue;
using Types = std::optional<at::ScalarType>;
using Layouts = std::optional<c10::Layout>;

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, Types dtype, Layouts, std::optional<Device> device,
                     std::optional<bool> pinned) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::OptionalDeviceGuard guard(device);
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &device_memory, keys, c10::dtype_or_default(dtype));
}

Tensor empty(c10::IntArrayRef size, Types dtype, Layouts, std::optional<Device> device, std::optional<bool> pinned,
             std::optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::OptionalDeviceGuard guard(device);
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_generic(size, &device_memory, keys, c10::dtype_or_default(dtype), format);
}

// The bytes of a GPU's tensor as a tensor of the CPU; other tensors as they are.
Tensor share_with_cpu(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  const auto& storage = tensor.storage();
  c10::DataPtr bytes(storage.mutable_data(), Device(DeviceType::CPU));
  const c10::Storage shared({}, storage.nbytes(), std::move(bytes), nullptr, false);
  auto result = at::empty({0}, tensor.options().device(at::kCPU));
  return result.set_(shared, tensor.storage_offset(), tensor.sizes(), tensor.strides());
}

Tensor copy_to_gpu(const Tensor& tensor, Device device) {
  if (!tensor.defined() || tensor.is_cuda()) return tensor;
  auto result = empty_strided(tensor.sizes(), tensor.strides(), tensor.scalar_type(), {}, device, {});
  share_with_cpu(result).copy_(tensor);
  return result;
}

// The only operation that takes tensors of two devices, besides indexing.
Tensor& copy_(Tensor& self, const Tensor& source, bool) {
  share_with_cpu(self).copy_(share_with_cpu(source));
  return self;
}

// A tensor among the arguments of an operation.
struct Argument {
  Tensor tensor;
  bool is_index;  // indices may be on the CPU when what they index is on a GPU, but not the other way round
};

std::vector<Argument> list_tensors(const c10::OperatorHandle& operation, const std::vector<IValue>& values) {
  static const std::set<std::string> INDEXING{"aten::index", "aten::index_put", "aten::index_put_",
                                              "aten::_index_put_impl_", "aten::_unsafe_index"};
  const bool indexes = INDEXING.contains(operation.schema().name());
  std::vector<Argument> found;
  const auto add = [&](const Tensor& tensor, bool is_index) {
    if (tensor.defined()) found.push_back({tensor, is_index});
  };
  for (size_t i = 0; i < values.size(); i++) {
    const bool is_index = indexes && operation.schema().arguments()[i].name() == "indices";
    if (values[i].isTensor()) add(values[i].toTensor(), false);
    if (values[i].isTensorList())
      for (const Tensor& tensor : values[i].toTensorVector()) add(tensor, is_index);
    if (values[i].isOptionalTensorList())
      for (const std::optional<Tensor>& tensor : values[i].toOptionalTensorVector())
        if (tensor) add(*tensor, is_index);
  }
  return found;
}

// The GPU that an operation runs on. An error for tensors of two devices; those of the CPU with no dimension are allowed.
Device find_device(const c10::OperatorHandle& operation, const std::vector<IValue>& values) {
  const auto tensors = list_tensors(operation, values);
  std::optional<Device> device;
  for (const auto& [tensor, is_index] : tensors)
    if (tensor.is_cuda() && !is_index && !device) device = tensor.device();
  for (const auto& [tensor, is_index] : tensors) {
    TORCH_CHECK(device || !is_index || !tensor.is_cuda(),
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)");
    const bool is_allowed = !tensor.is_cuda() && (is_index || tensor.dim() == 0);
    TORCH_CHECK(!device || is_allowed || tensor.device() == *device,
                "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and ",
                tensor.device(), "! (", operation.schema().name(), ")");
  }
  for (const auto& value : values)
    if (!device && value.isDevice()) device = value.toDevice();
  return device && device->has_index() ? *device : Device(DeviceType::CUDA, current);
}

// An argument as the CPU's kernel takes it.
IValue to_cpu_argument(const IValue& value) {
  if (value.isTensor()) return share_with_cpu(value.toTensor());
  if (value.isDevice()) return Device(DeviceType::CPU);
  if (value.isTensorList()) {
    c10::List<Tensor> tensors;
    for (const Tensor& tensor : value.toTensorVector()) tensors.push_back(share_with_cpu(tensor));
    return tensors;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> tensors;
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
      tensors.push_back(tensor ? std::optional(share_with_cpu(*tensor)) : std::nullopt);
    return tensors;
  }
  return value;
}

// While it lives, the CPU's random state is that of a GPU.
class RandomState {
 public:
  RandomState(const c10::OperatorHandle& operation, Device device)
      : is_random(operation.hasTag(at::Tag::nondeterministic_seeded)), gpu(gpus().at(device.index())) {
    if (is_random) swap();
  }
  ~RandomState() {
    if (is_random) swap();
  }

 private:
  bool is_random;
  Gpu& gpu;
  void swap() {
    at::Generator cpu = at::detail::getDefaultCPUGenerator();
    const std::lock_guard guard(cpu.mutex());
    const auto state = cpu.get_state();
    cpu.set_state(gpu.random.get_state());
    gpu.random.set_state(state);
  }
};

// An output that was given without a size: the CPU's kernel fills one of the CPU, which is copied afterwards.
struct UnsizedOutput {
  Tensor given, filled;
};

// Puts the arguments for the CPU's kernel on the stack.
std::vector<UnsizedOutput> replace_arguments(const c10::FunctionSchema& schema, const std::vector<IValue>& values,
                                             torch::jit::Stack* stack) {
  std::vector<UnsizedOutput> unsized;
  for (size_t i = 0; i < values.size(); i++) {
    auto& place = (*stack)[stack->size() - values.size() + i];
    const auto* alias = schema.arguments()[i].alias_info();
    const bool is_written = alias && alias->isWrite() && values[i].isTensor() && values[i].toTensor().defined();
    if (is_written && values[i].toTensor().is_cuda() && values[i].toTensor().numel() == 0) {
      const auto given = values[i].toTensor();
      unsized.push_back({given, at::empty(given.sizes(), given.options().device(at::kCPU))});
      place = unsized.back().filled;
    } else {
      place = to_cpu_argument(values[i]);
    }
  }
  return unsized;
}

// What an operation returns: an argument that it changed, or a new tensor, which is copied to the GPU.
IValue to_gpu_result(const IValue& result, const c10::FunctionSchema& schema, const c10::AliasInfo* alias,
                     const std::vector<IValue>& values, Device device) {
  if (alias && alias->isWrite()) {
    for (size_t i = 0; i < values.size(); i++) {
      const auto* other = schema.arguments()[i].alias_info();
      if (other && *other == *alias) return values[i];
    }
  }
  TORCH_CHECK(!alias || !result.isTensor(), schema.name(), " returns a view, which the pretended GPU does not know");
  if (result.isTensor()) return copy_to_gpu(result.toTensor(), device);
  if (!result.isTensorList()) return result;
  c10::List<Tensor> tensors;
  for (const Tensor& tensor : result.toTensorVector()) tensors.push_back(copy_to_gpu(tensor, device));
  return tensors;
}

// Every operation that is not listed below.
void run_on_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const auto& schema = operation.schema();
  const std::vector<IValue> values(stack->end() - schema.arguments().size(), stack->end());
  const auto device = find_device(operation, values);
  check_usable(device.index());
  const auto unsized = replace_arguments(schema, values, stack);
  {
    const RandomState random(operation, device);
    operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  for (const auto& [given, filled] : unsized) {
    given.resize_(filled.sizes());
    share_with_cpu(given).copy_(filled);
  }
  const auto& returns = schema.returns();
  for (size_t i = 0; i < returns.size(); i++) {
    auto& result = (*stack)[stack->size() - returns.size() + i];
    result = to_gpu_result(result, schema, returns[i].alias_info(), values, device);
  }
}

Tensor& set_storage(Tensor& self, c10::Storage source, int64_t offset, c10::IntArrayRef size,
                    c10::IntArrayRef stride) {
  auto* tensor = self.unsafeGetTensorImpl();
  tensor->set_storage_keep_dtype(std::move(source));
  tensor->set_sizes_and_strides(size, stride);
  tensor->set_storage_offset(offset);
  return self;
}

Tensor& set_whole_storage(Tensor& self, c10::Storage source) {
  const auto length = static_cast<int64_t>(source.nbytes() / self.itemsize());
  return set_storage(self, std::move(source), 0, {length}, {1});
}

// The fused kernels of attention are CUDA's own; the choice here is the one of plain operations.
int64_t choose_attention(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool,
                         std::optional<double>, bool) {
  return 0;
}

// Autocast calls softmax and log_softmax with fp16 inputs and fp32 outputs, which the CPU's kernels do not have.
template <Tensor (*softmax)(const Tensor&, int64_t, bool)>
Tensor compute_softmax(const Tensor& self, int64_t dim, bool half_to_float) {
  const auto input = share_with_cpu(self);
  return copy_to_gpu(softmax(half_to_float ? input.to(at::kFloat) : input, dim, false), self.device());
}

template <Tensor (*backward)(const Tensor&, const Tensor&, int64_t, at::ScalarType)>
Tensor compute_softmax_backward(const Tensor& grad, const Tensor& output, int64_t dim, at::ScalarType input_dtype) {
  const auto result = backward(share_with_cpu(grad), share_with_cpu(output), dim, grad.scalar_type());
  return copy_to_gpu(result.to(input_dtype), grad.device());
}

C10_REGISTER_GUARD_IMPL(CUDA, Guard);
const bool has_allocator = (c10::SetAllocator(DeviceType::CUDA, &device_memory, 100), true);

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("copy_", TORCH_FN(copy_));
  library.impl("resize_", TORCH_FN(at::native::resize_));
  library.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage));
  library.impl("set_.source_Storage", TORCH_FN(set_whole_storage));
  library.impl("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
  library.impl("_fused_sdp_choice", TORCH_FN(choose_attention));
  library.impl("_softmax", TORCH_FN(compute_softmax<at::_softmax>));
  library.impl("_log_softmax", TORCH_FN(compute_softmax<at::_log_softmax>));
  library.impl("_softmax_backward_data", TORCH_FN(compute_softmax_backward<at::_softmax_backward_data>));
  library.impl("_log_softmax_backward_data", TORCH_FN(compute_softmax_backward<at::_log_softmax_backward_data>));
  // Views, which share the memory of their tensor
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("view", TORCH_FN(at::native::view));
  library.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  library.impl("unfold", TORCH_FN(at::native::unfold));
}
}  // namespace pretended

namespace at {
using CUDAHooks = pretended::Hooks;  // REGISTER_CUDA_HOOKS makes its name from it
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

// What torch_cuda.py calls.
extern "C" {
int count() { return pretended::count_gpus(); }
int get_current() { return pretended::current; }
void set_current(int index) { pretended::current = static_cast<c10::DeviceIndex>(index); }
int64_t get_number(int index) { return pretended::gpus().at(index).number; }
int64_t get_bytes(int index) { return pretended::gpus().at(index).bytes; }
int64_t get_used(int index) { return pretended::gpus().at(index).used; }
int64_t get_peak(int index) { return pretended::gpus().at(index).peak; }
void reset_peak(int index) { pretended::gpus().at(index).peak = pretended::gpus().at(index).used.load(); }
void set_limit(int index, int64_t bytes) { pretended::gpus().at(index).limit = bytes; }
int64_t get_pinned() { return pretended::PinnedMemory::used; }
int64_t get_pinned_peak() { return pretended::PinnedMemory::peak; }
void set_seed(int index, uint64_t seed) { pretended::gpus().at(index).random.set_current_seed(seed); }
uint64_t get_seed(int index) { return pretended::gpus().at(index).random.current_seed(); }
int64_t get_state_size() { return pretended::gpus().at(0).random.get_state().numel(); }
void copy_state(int index, void* target) {
  const auto state = pretended::gpus().at(index).random.get_state();
  std::memcpy(target, state.const_data_ptr(), state.numel());
}
void set_state(int index, const void* source) {
  auto& random = pretended::gpus().at(index).random;
  const auto state = random.get_state();
  std::memcpy(state.mutable_data_ptr(), source, state.numel());
  random.set_state(state);
}
}
