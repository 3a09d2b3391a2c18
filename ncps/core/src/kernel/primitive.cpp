// One MLX primitive for all ops whose arithmetic is done in Rust. It only moves pointers: what the inputs mean, what is
// computed and how an op is differentiated is known to the plan behind `handle` and the functions in `Table`.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/array.h"
#include "mlx/c/stream.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

extern "C" {

// Mirrors of the structs in op/ffi.rs.
struct NcpsTensor {
  void* data;
  const int32_t* shape;
  const int64_t* strides;
  size_t rank;
  size_t size;
  bool is_contiguous;
};

struct NcpsTable {
  const char* name;
  // 0 when it worked; else `message` says what went wrong.
  int32_t (*run)(const void* plan, const NcpsTensor* in, size_t n_in, const NcpsTensor* out, size_t n_out,
                 char* message, size_t capacity);
  // A plan for the gradients of the inputs `wanted` and its table, or null if there is no derivative.
  void* (*differentiate)(const void* plan, const int32_t* wanted, size_t count, const NcpsTable** table);
  void (*release)(const void* plan);
  // The saved output's memory, `size` values that were zero at first, is about to be freed.
  void (*forget)(const float* saved, size_t size);
};

struct NcpsShape {
  const int32_t* dims;
  size_t rank;
};
}

namespace {

struct Layout {
  explicit Layout(const mx::array& a)
      : shape(a.shape().begin(), a.shape().end()),
        strides(a.strides().begin(), a.strides().end()),
        size(a.size()),
        is_contiguous(a.flags().row_contiguous),
        data(a.size() == 0 ? nullptr : const_cast<float*>(a.data<float>())) {}

  NcpsTensor tensor() const {
    return {data, shape.data(), strides.data(), shape.size(), size, is_contiguous};
  }

  std::vector<int32_t> shape;
  std::vector<int64_t> strides;
  size_t size;
  bool is_contiguous;
  void* data;
};

class RustOp : public mx::Primitive {
 public:
  RustOp(mx::Stream stream, std::shared_ptr<const void> plan, const NcpsTable* table, int32_t saved)
      : mx::Primitive(stream), plan_(std::move(plan)), table_(table), saved_(saved) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (size_t i = 0; i < outputs.size(); ++i) {
      auto buffer = mx::allocator::malloc(outputs[i].nbytes());
      if (static_cast<int32_t>(i) != saved_) {
        outputs[i].set_data(buffer);
        continue;
      }
      size_t size = outputs[i].size();
      std::fill_n(static_cast<float*>(buffer.raw_ptr()), size, 0.0f);
      outputs[i].set_data(buffer, [forget = table_->forget, size](mx::allocator::Buffer freed) {
        forget(static_cast<const float*>(freed.raw_ptr()), size);
        mx::allocator::free(freed);
      });
    }
    std::vector<Layout> in;
    std::vector<Layout> out;
    for (const auto& a : inputs) {
      if (a.dtype() != mx::float32) {
        throw std::invalid_argument(std::string("[") + table_->name + "] an input is not float32");
      }
      in.emplace_back(a);
    }
    for (const auto& a : outputs) {
      out.emplace_back(a);
    }
    auto& encoder = mx::cpu::get_command_encoder(stream());
    encoder.dispatch([plan = plan_, table = table_, in = std::move(in), out = std::move(out)]() {
      std::vector<NcpsTensor> ins;
      std::vector<NcpsTensor> outs;
      for (const auto& layout : in) ins.push_back(layout.tensor());
      for (const auto& layout : out) outs.push_back(layout.tensor());
      char message[512] = {0};
      if (table->run(plan.get(), ins.data(), ins.size(), outs.data(), outs.size(), message, sizeof(message)) != 0) {
        throw std::runtime_error(std::string("[") + table->name + "] " + message);
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(std::string("[") + table_->name +
                             "] runs on the CPU only; use the plain implementation on a GPU stream");
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>& outputs) override {
    std::vector<int32_t> wanted(argnums.begin(), argnums.end());
    const NcpsTable* table = nullptr;
    void* plan = table_->differentiate(plan_.get(), wanted.data(), wanted.size(), &table);
    if (plan == nullptr) {
      throw std::invalid_argument(std::string("[") + table_->name + "] has no derivative; use the plain implementation");
    }
    std::shared_ptr<const void> owner(plan, table->release);
    std::vector<mx::array> inputs = primals;
    if (saved_ >= 0) {
      inputs.push_back(outputs.at(saved_));
    }
    for (size_t i = 0; i < cotangents.size(); ++i) {
      if (static_cast<int32_t>(i) != saved_) {
        inputs.push_back(cotangents[i]);
      }
    }
    std::vector<mx::Shape> shapes;
    for (int i : argnums) shapes.push_back(primals[i].shape());
    std::vector<mx::Dtype> types(shapes.size(), mx::float32);
    auto op = std::make_shared<RustOp>(stream(), std::move(owner), table, -1);
    return mx::array::make_arrays(std::move(shapes), types, op, inputs);
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>&, const std::vector<mx::array>&,
                             const std::vector<int>&) override {
    throw std::invalid_argument(std::string("[") + table_->name +
                                "] has no forward derivative; use the plain implementation");
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>&,
                                                           const std::vector<int>&) override {
    throw std::invalid_argument(std::string("[") + table_->name +
                                "] cannot be vectorised with vmap; add samples to the batch axis instead, or use the "
                                "plain implementation");
  }

  const char* name() const override { return table_->name; }

 private:
  std::shared_ptr<const void> plan_;
  const NcpsTable* table_;
  // Index of an output that only the derivative reads, or -1.
  int32_t saved_;
};

}  // namespace

extern "C" {

// Builds the op's outputs; takes over `plan`. On failure returns 1 and writes a message.
int32_t ncps_op_apply(const void* plan, const NcpsTable* table, const mlx_array* inputs, size_t n_in,
                      const NcpsShape* shapes, size_t n_out, int32_t saved, mlx_stream stream, mlx_array* outputs,
                      char* message, size_t capacity) {
  std::shared_ptr<const void> owner(plan, table->release);
  try {
    std::vector<mx::array> in;
    for (size_t i = 0; i < n_in; ++i) in.push_back(*static_cast<mx::array*>(inputs[i].ctx));
    std::vector<mx::Shape> dims;
    for (size_t i = 0; i < n_out; ++i) dims.emplace_back(shapes[i].dims, shapes[i].dims + shapes[i].rank);
    std::vector<mx::Dtype> types(n_out, mx::float32);
    auto op = std::make_shared<RustOp>(*static_cast<mx::Stream*>(stream.ctx), std::move(owner), table, saved);
    auto arrays = mx::array::make_arrays(std::move(dims), types, op, in);
    for (size_t i = 0; i < n_out; ++i) outputs[i].ctx = new mx::array(arrays[i]);
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(message, capacity, "%s", error.what());
    return 1;
  }
}

// Whether work on the stream is done by a CPU.
bool ncps_stream_is_cpu(mlx_stream stream) {
  return static_cast<mx::Stream*>(stream.ctx)->device == mx::Device::cpu;
}
}
