// MLX's custom kernels and custom derivatives, as launch.rs and differentiable.rs call them.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mlx/array.h"
#include "mlx/backend/cuda/cuda.h"
#include "mlx/backend/metal/metal.h"
#include "mlx/c/array.h"
#include "mlx/c/stream.h"
#include "mlx/device.h"
#include "mlx/fast.h"
#include "mlx/transforms.h"

namespace mx = mlx::core;

extern "C" {

// Mirrors of the structs in launch.rs and differentiable.rs.
struct NcpsGpuLaunch {
  const char* name;
  const char* header;
  const char* source;
  // Machine code for CUDA, which then is what runs; of length 0 for Metal.
  const char* code;
  size_t code_len;
  const char* const* input_names;
  const mlx_array* inputs;
  size_t n_in;
  const char* const* output_names;
  const int32_t* const* shapes;
  const size_t* ranks;
  const bool* is_int;
  size_t n_out;
  int32_t groups;
  int32_t threads;
  int32_t shared_bytes;
};

struct NcpsDifferentiable {
  // Both write handles of new arrays and give their number, or write a message and give -1.
  int64_t (*forward)(const void* layer, const mlx_array* inputs, size_t n_in, mlx_array* outputs, size_t room,
                     char* message, size_t capacity);
  int64_t (*backward)(const void* layer, const mlx_array* inputs, size_t n_in, const mlx_array* cotangents,
                      const mlx_array* values, size_t n_out, mlx_array* outputs, size_t room, char* message,
                      size_t capacity);
  void (*release)(const void* layer);
};
}

namespace {

constexpr size_t ROOM = 256;
constexpr size_t CAPACITY = 512;

// Handles that C++ keeps the ownership of.
std::vector<mlx_array> lend(const std::vector<mx::array>& arrays) {
  std::vector<mlx_array> handles;
  for (const auto& a : arrays) handles.push_back({const_cast<mx::array*>(&a)});
  return handles;
}

// Takes over handles that Rust made.
std::vector<mx::array> take(mlx_array* handles, int64_t count, const char* message) {
  if (count < 0) throw std::invalid_argument(message);
  std::vector<mx::array> arrays;
  for (int64_t i = 0; i < count; ++i) {
    auto* a = static_cast<mx::array*>(handles[i].ctx);
    arrays.push_back(*a);
    delete a;
  }
  return arrays;
}

}  // namespace

extern "C" {

// What runs the work of a stream: 0 a CPU, 1 Metal, 2 CUDA.
int32_t ncps_gpu_backend(mlx_stream stream) {
  if (static_cast<mx::Stream*>(stream.ctx)->device == mx::Device::cpu) return 0;
  if (mx::metal::is_available()) return 1;
  return mx::cu::is_available() ? 2 : 0;
}

// The compute capability of an NVIDIA GPU, 90 for 9.0; 0 where there is none.
int32_t ncps_gpu_capability() {
  try {
    const auto& facts = mx::device_info(mx::Device::gpu);
    auto number = [&](const char* key) {
      auto found = facts.find(key);
      return found == facts.end() ? size_t{0} : std::get<size_t>(found->second);
    };
    return static_cast<int32_t>(10 * number("compute_capability_major") + number("compute_capability_minor"));
  } catch (const std::exception&) {
    return 0;
  }
}

// Adds a kernel to the graph; on failure returns 1 and writes a message.
int32_t ncps_gpu_launch(const NcpsGpuLaunch* launch, mlx_stream stream, mlx_array* outputs, char* message,
                        size_t capacity) {
  try {
    std::vector<std::string> input_names(launch->input_names, launch->input_names + launch->n_in);
    std::vector<std::string> output_names(launch->output_names, launch->output_names + launch->n_out);
    std::vector<mx::array> inputs;
    for (size_t i = 0; i < launch->n_in; ++i) inputs.push_back(*static_cast<mx::array*>(launch->inputs[i].ctx));
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> types;
    for (size_t i = 0; i < launch->n_out; ++i) {
      shapes.emplace_back(launch->shapes[i], launch->shapes[i] + launch->ranks[i]);
      types.push_back(launch->is_int[i] ? mx::int32 : mx::float32);
    }
    const std::tuple<int, int, int> grid{launch->groups * launch->threads, 1, 1};
    const std::tuple<int, int, int> group{launch->threads, 1, 1};
    const auto& on = *static_cast<mx::Stream*>(stream.ctx);
    std::vector<mx::array> arrays;
    if (launch->code_len > 0) {
      arrays = mx::fast::precompiled_cuda_kernel(launch->name, std::string(launch->code, launch->code_len), inputs, shapes,
                                                 types, {}, grid, group, launch->shared_bytes, std::nullopt, true, on);
    } else {
      auto kernel = mx::fast::metal_kernel(launch->name, input_names, output_names, launch->source, launch->header);
      arrays = kernel(inputs, shapes, types, grid, group, {}, std::nullopt, false, on);
    }
    for (size_t i = 0; i < launch->n_out; ++i) outputs[i].ctx = new mx::array(arrays.at(i));
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(message, capacity, "%s", error.what());
    return 1;
  }
}

// Applies a layer that has its own derivative; takes over `layer`. Gives the number of outputs, or -1 and a message.
int64_t ncps_gpu_differentiable(const void* layer, const NcpsDifferentiable* table, const mlx_array* inputs,
                                size_t n_in, mlx_array* outputs, size_t room, char* message, size_t capacity) {
  std::shared_ptr<const void> owner(layer, table->release);
  try {
    auto forward = [owner, table](const std::vector<mx::array>& in) {
      auto handles = lend(in);
      mlx_array out[ROOM];
      char text[CAPACITY] = {0};
      auto count = table->forward(owner.get(), handles.data(), handles.size(), out, ROOM, text, sizeof(text));
      return take(out, count, text);
    };
    auto backward = [owner, table](const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents,
                                   const std::vector<mx::array>& values) {
      auto given = lend(in);
      auto slopes = lend(cotangents);
      auto results = lend(values);
      mlx_array out[ROOM];
      char text[CAPACITY] = {0};
      auto count = table->backward(owner.get(), given.data(), given.size(), slopes.data(), results.data(),
                                   results.size(), out, ROOM, text, sizeof(text));
      return take(out, count, text);
    };
    std::vector<mx::array> in;
    for (size_t i = 0; i < n_in; ++i) in.push_back(*static_cast<mx::array*>(inputs[i].ctx));
    auto arrays = mx::custom_vjp(forward, backward)(in);
    if (arrays.size() > room) throw std::length_error("too many outputs");
    for (size_t i = 0; i < arrays.size(); ++i) outputs[i].ctx = new mx::array(arrays[i]);
    return static_cast<int64_t>(arrays.size());
  } catch (const std::exception& error) {
    std::snprintf(message, capacity, "%s", error.what());
    return -1;
  }
}
}
