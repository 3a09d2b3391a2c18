// Kernel bodies on the CPU: each thread of a group is a fiber, so that barriers and SIMD-group operations mean what they
// mean on a GPU. For tests: shared memory starts as NaN and is guarded at its end, and threads can be run in either order.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define GLOBAL
#define SHARED
#define CONSTANT
#define FUNCTION inline
#define UNROLL
#define UNROLL_BY(n)
#define BARRIER() emulator::Group::current->barrier()
#define SIMD_SUM(x) emulator::Group::current->simd_sum(x, 32)
#define SIMD_SUM_OVER(x, width) emulator::Group::current->simd_sum(x, width)

struct float2 {
  float x, y;
};

struct float4 {
  float x, y, z, w;
};

inline float ncps_exp(float x) { return std::exp(x); }
inline float ncps_log1p(float x) { return std::log1p(x); }
inline float ncps_tanh(float x) { return std::tanh(x); }
inline float ncps_erf(float x) { return std::erf(x); }
inline float ncps_sqrt(float x) { return std::sqrt(x); }
inline float ncps_abs(float x) { return std::fabs(x); }
inline float ncps_max(float a, float b) { return std::fmax(a, b); }
inline float ncps_min(float a, float b) { return std::fmin(a, b); }

namespace emulator {

constexpr size_t STACK = 128 << 10;
constexpr int SIMD = 32;

// The threads of one group.
class Group {
 public:
  static inline thread_local Group* current = nullptr;

  explicit Group(int threads) : fibers_(threads) {
    for (auto& fiber : fibers_) fiber.stack.reset(new char[STACK]);
  }

  // Runs `body(thread)` on all threads; `is_descending` starts with the last.
  void run(const std::function<void(int)>& body, bool is_descending) {
    body_ = &body;
    current = this;
    int count = static_cast<int>(fibers_.size());
    for (int i = 0; i < count; ++i) start(i);
    while (true) {
      bool has_moved = false;
      for (int k = 0; k < count; ++k) {
        int i = is_descending ? count - 1 - k : k;
        if (fibers_[i].state != State::Ready) continue;
        has_moved = true;
        now_ = i;
        swapcontext(&scheduler_, &fibers_[i].context);
        if (!failure_.empty()) throw std::runtime_error(failure_);
      }
      if (all(State::Done)) return;
      has_moved |= join_simd_groups();
      if (all(State::AtBarrier)) {
        for (auto& fiber : fibers_) fiber.state = State::Ready;
        has_moved = true;
      }
      if (!has_moved) throw std::runtime_error("threads of a group wait at different places");
    }
  }

  void barrier() { wait(State::AtBarrier); }

  float simd_sum(float x, int width) {
    Fiber& fiber = fibers_[now_];
    fiber.value = x;
    fiber.width = width;
    wait(State::AtSimd);
    return fiber.value;
  }

 private:
  enum class State { Ready, AtBarrier, AtSimd, Done };

  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = State::Ready;
    float value = 0.0f;
    int width = 0;
  };

  static void enter() {
    Group* group = current;
    try {
      (*group->body_)(group->now_);
    } catch (const std::exception& error) {
      group->failure_ = error.what();
    }
    group->fibers_[group->now_].state = State::Done;
    swapcontext(&group->fibers_[group->now_].context, &group->scheduler_);
  }

  void start(int i) {
    Fiber& fiber = fibers_[i];
    fiber.state = State::Ready;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }

  void wait(State state) {
    Fiber& fiber = fibers_[now_];
    fiber.state = state;
    swapcontext(&fiber.context, &scheduler_);
  }

  bool all(State state) const {
    return std::all_of(fibers_.begin(), fibers_.end(), [=](const Fiber& fiber) { return fiber.state == state; });
  }

  // Butterfly sums, in the order in which a GPU adds.
  bool join_simd_groups() {
    bool has_joined = false;
    for (size_t first = 0; first + SIMD <= fibers_.size(); first += SIMD) {
      auto begin = fibers_.begin() + first;
      int width = begin->width;
      auto waits = [=](const Fiber& fiber) { return fiber.state == State::AtSimd && fiber.width == width; };
      if (!std::all_of(begin, begin + SIMD, waits)) continue;
      for (int other = width / 2; other > 0; other /= 2) {
        float sums[SIMD];
        for (int lane = 0; lane < SIMD; ++lane) sums[lane] = begin[lane].value + begin[lane ^ other].value;
        for (int lane = 0; lane < SIMD; ++lane) begin[lane].value = sums[lane];
      }
      for (int lane = 0; lane < SIMD; ++lane) begin[lane].state = State::Ready;
      has_joined = true;
    }
    return has_joined;
  }

  std::vector<Fiber> fibers_;
  ucontext_t scheduler_;
  const std::function<void(int)>* body_ = nullptr;
  int now_ = 0;
  std::string failure_;
};

// Values that a launch hands to a body, in the order of its declaration.
struct Arguments {
  const void* const* inputs;
  void* const* outputs;
  const int32_t* sizes;
  const float* reals;
  const int32_t* const* tables;
};

struct Place {
  int THREAD;
  int GROUP;
  float* shared_memory;
};

struct Kernel {
  const char* name;
  void (*run)(const Arguments& arguments, const Place& place);
};

inline void launch(const Kernel& kernel, const Arguments& arguments, int groups, int threads, size_t shared,
                   bool is_descending) {
  constexpr size_t GUARD = 64;
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  const float mark = 1234.5f;
  Group group(threads);
  // Rounded up, so that vector loads are aligned as they are on a GPU.
  std::vector<float4> words((shared + GUARD) / 4 + 1);
  float* memory = reinterpret_cast<float*>(words.data());
  for (int g = 0; g < groups; ++g) {
    std::fill_n(memory, shared, nothing);
    std::fill_n(memory + shared, GUARD, mark);
    group.run([&](int thread) { kernel.run(arguments, Place{thread, g, memory}); }, is_descending);
    for (size_t i = 0; i < GUARD; ++i) {
      if (memory[shared + i] != mark) throw std::runtime_error("a thread wrote behind the shared memory");
    }
  }
}

}  // namespace emulator
