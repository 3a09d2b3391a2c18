// Walks the operations that evaluating some arrays would run.

#include <cstdint>
#include <exception>
#include <unordered_set>
#include <vector>

#include "mlx/array.h"
#include "mlx/c/array.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

// Calls `visit` with the name of each operation that is not yet evaluated, once for all its outputs; 0 when it worked.
extern "C" int32_t ncps_graph_visit(const mlx_array* outputs, size_t count, void* context,
                                    void (*visit)(void* context, const char* name)) {
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
      visit(context, array.primitive().name());
      for (const auto& input : array.inputs()) {
        waiting.push_back(input);
      }
    }
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}
