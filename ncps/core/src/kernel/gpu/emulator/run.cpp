// The emulator as tests call it.

#include <cstdio>
#include <cstring>

#include "src/kernel/gpu/emulator/threads.hpp"

namespace emulator {
extern const Kernel KERNELS[];
extern const size_t COUNT;
}  // namespace emulator

extern "C" {

// Runs a kernel; on failure returns 1 and writes a message. Mirrored in emulator.rs.
int32_t ncps_emulate(const char* name, const void* const* inputs, void* const* outputs, const int32_t* sizes,
                     const float* reals, const int32_t* const* tables, int32_t groups, int32_t threads, int32_t cluster,
                     size_t shared, bool is_descending, char* message, size_t capacity) {
  try {
    for (size_t i = 0; i < emulator::COUNT; ++i) {
      if (std::strcmp(emulator::KERNELS[i].name, name) != 0) continue;
      emulator::Arguments arguments{inputs, outputs, sizes, reals, tables};
      emulator::launch(emulator::KERNELS[i], arguments, groups, threads, cluster, shared, is_descending);
      return 0;
    }
    throw std::runtime_error("there is no such kernel");
  } catch (const std::exception& error) {
    std::snprintf(message, capacity, "%s: %s", name, error.what());
    return 1;
  }
}
}
