// Walks the operations that evaluating some arrays would run.

#include <cstdint>
#include <exception>
#include <unordered_set>
#include <vector>

#include "mlx/array.h"
#include "mlx/c/array.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

// Calls `visit` for each operation that is not yet evaluated, once for all its outputs, with the places of its inputs and outputs
// in memory as their names, and bytes and shapes of the outputs, these one behind the other; 0 when it worked.
extern "C" int32_t ncps_graph_visit(const mlx_array* outputs, size_t count, void* context,
                                    void (*visit)(void* context, const char* name, const uintptr_t* inputs,
                                                  size_t input_count, const uintptr_t* results,
                                                  const uint64_t* bytes, const size_t* axes, size_t result_count,
                                                  const int32_t* sizes, size_t size_count)) {
  try {
    std::unordered_set<std::uintptr_t> seen;
    std::vector<mx::array> waiting;
    for (size_t i = 0; i < count; ++i) {
      waiting.push_back(*static_cast<mx::array*>(outputs[i].ctx));
    }
    while (!waiting.empty()) {
      mx::array array = waiting.back();
      waiting.pop_back();
      if (!array.has_primitive() || array.status() != mx::array::Status::unscheduled ||
          !seen.insert(array.primitive_id()).second) {
        continue;
      }
      std::vector<uintptr_t> inputs, results;
      std::vector<uint64_t> bytes;
      std::vector<size_t> axes;
      std::vector<int32_t> sizes;
      for (const auto& input : array.inputs()) {
        inputs.push_back(input.id());
        waiting.push_back(input);
      }
      for (const auto& result : array.outputs()) {
        results.push_back(result.id());
        bytes.push_back(result.nbytes());
        axes.push_back(result.ndim());
        sizes.insert(sizes.end(), result.shape().begin(), result.shape().end());
      }
      visit(context, array.primitive().name(), inputs.data(), inputs.size(), results.data(), bytes.data(), axes.data(),
            results.size(), sizes.data(), sizes.size());
    }
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

// The name by which a visit knows an array.
extern "C" uintptr_t ncps_graph_name(mlx_array array) { return static_cast<mx::array*>(array.ctx)->id(); }
