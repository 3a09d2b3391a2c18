// NVIDIA's run-time compiler, in the copy that libmlx has brought into the process; machine.rs calls this.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// The functions as nvrtc.h declares them; a program is a pointer, a result 0 where it is good.
using Program = void*;

template <typename F>
F find(const char* name) {
  auto found = dlsym(RTLD_DEFAULT, name);
  if (found == nullptr) throw std::runtime_error(std::string("the process has no ") + name + " (libnvrtc)");
  return reinterpret_cast<F>(found);
}

void check(int result, const char* what) {
  if (result == 0) return;
  auto text = find<const char* (*)(int)>("nvrtcGetErrorString")(result);
  throw std::runtime_error(std::string(what) + ": " + text);
}

std::string log_of(Program program) {
  size_t size = 0;
  check(find<int (*)(Program, size_t*)>("nvrtcGetProgramLogSize")(program, &size), "nvrtcGetProgramLogSize");
  std::string log(size, '\0');
  check(find<int (*)(Program, char*)>("nvrtcGetProgramLog")(program, log.data()), "nvrtcGetProgramLog");
  return log;
}

struct Owner {
  Program program = nullptr;
  ~Owner() {
    if (program != nullptr) find<int (*)(Program*)>("nvrtcDestroyProgram")(&program);
  }
};

}  // namespace

extern "C" {

// The compiler's version as major * 1000 + minor; 0 where there is none.
int32_t ncps_nvrtc_version() {
  try {
    int major = 0, minor = 0;
    check(find<int (*)(int*, int*)>("nvrtcVersion")(&major, &minor), "nvrtcVersion");
    return major * 1000 + minor;
  } catch (const std::exception&) {
    return 0;
  }
}

// Compiles a program for a compute capability (90 for 9.0) and lends the code to `take`: machine code where the compiler
// knows the GPU, else the newest intermediate code, which the driver translates. On failure returns 1 and writes a message.
int32_t ncps_nvrtc_compile(const char* source, int32_t capability, void* context,
                           void (*take)(void* context, const char* code, size_t size), char* message,
                           size_t capacity) {
  try {
    int count = 0;
    check(find<int (*)(int*)>("nvrtcGetNumSupportedArchs")(&count), "nvrtcGetNumSupportedArchs");
    std::vector<int> known(count);
    check(find<int (*)(int*)>("nvrtcGetSupportedArchs")(known.data()), "nvrtcGetSupportedArchs");
    int best = 0;
    for (int arch : known) {
      if (arch <= capability && arch > best) best = arch;
    }
    const bool is_machine = best == capability;
    const std::string target = std::string("--gpu-architecture=") + (is_machine ? "sm_" : "compute_") + std::to_string(best);
    const char* options[] = {target.c_str()};
    Owner owner;
    check(find<int (*)(Program*, const char*, const char*, int, const char* const*, const char* const*)>(
              "nvrtcCreateProgram")(&owner.program, source, "ncps.cu", 0, nullptr, nullptr),
          "nvrtcCreateProgram");
    auto compile = find<int (*)(Program, int, const char* const*)>("nvrtcCompileProgram");
    if (int result = compile(owner.program, 1, options); result != 0) {
      throw std::runtime_error("a kernel could not be compiled: " + log_of(owner.program));
    }
    auto size_of = find<int (*)(Program, size_t*)>(is_machine ? "nvrtcGetCUBINSize" : "nvrtcGetPTXSize");
    auto copy = find<int (*)(Program, char*)>(is_machine ? "nvrtcGetCUBIN" : "nvrtcGetPTX");
    size_t size = 0;
    check(size_of(owner.program, &size), "the size of a kernel");
    std::string code(size, '\0');
    check(copy(owner.program, code.data()), "the code of a kernel");
    take(context, code.data(), code.size());
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(message, capacity, "%s", error.what());
    return 1;
  }
}
}
