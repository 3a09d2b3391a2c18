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
#define CLUSTER_BARRIER() emulator::Group::current->cluster_barrier()
#define REMOTE(pointer, rank) emulator::Group::current->remote(pointer, rank)
#define LOCAL
#define SIMD_MATRIX(sums, left, right) emulator::Group::current->simd_matrix(sums, left, right)
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

// The threads of one group, or of a cluster of groups that reach each other's shared memory.
class Group {
 public:
  static inline thread_local Group* current = nullptr;

  // `stride` is the distance between the shared memories of neighbouring groups, in floats.
  Group(int threads, int cluster, ptrdiff_t stride) : threads_(threads), stride_(stride), fibers_(threads * cluster) {
    for (auto& fiber : fibers_) fiber.stack.reset(new char[STACK]);
  }

  // Runs `body(i)` on all threads, group by group; `is_descending` starts with the last.
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
      has_moved |= multiply_matrices();
      for (size_t first = 0; first < fibers_.size(); first += threads_) {
        has_moved |= pass(State::AtBarrier, first, first + threads_);
      }
      has_moved |= pass(State::AtCluster, 0, fibers_.size());
      if (!has_moved) throw std::runtime_error("threads of a group wait at different places");
    }
  }

  void barrier() { wait(State::AtBarrier); }

  void cluster_barrier() { wait(State::AtCluster); }

  // The same place in the shared memory of another group of the cluster.
  float* remote(float* place, int rank) const { return place + (rank - now_ / threads_) * stride_; }

  // Adds a product of matrices to `sums`; who has which element is said in prologue/cuda.inc.
  void simd_matrix(float* sums, const float* left, const float* right) {
    Fiber& fiber = fibers_[now_];
    fiber.sums = sums;
    fiber.left = left;
    fiber.right = right;
    wait(State::AtMatrix);
  }

  float simd_sum(float x, int width) {
    Fiber& fiber = fibers_[now_];
    fiber.value = x;
    fiber.width = width;
    wait(State::AtSimd);
    return fiber.value;
  }

 private:
  enum class State { Ready, AtBarrier, AtCluster, AtSimd, AtMatrix, Done };

  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = State::Ready;
    float value = 0.0f;
    int width = 0;
    float* sums = nullptr;
    const float* left = nullptr;
    const float* right = nullptr;
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

  // Lets threads go on that all wait at the same barrier.
  bool pass(State barrier, size_t first, size_t end) {
    auto begin = fibers_.begin();
    auto waits = [=](const Fiber& fiber) { return fiber.state == barrier; };
    if (!std::all_of(begin + first, begin + end, waits)) return false;
    for (size_t i = first; i < end; ++i) fibers_[i].state = State::Ready;
    return true;
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

  bool multiply_matrices() {
    bool has_multiplied = false;
    for (size_t first = 0; first + SIMD <= fibers_.size(); first += SIMD) {
      auto lanes = fibers_.begin() + first;
      auto waits = [](const Fiber& fiber) { return fiber.state == State::AtMatrix; };
      if (!std::all_of(lanes, lanes + SIMD, waits)) continue;
      for (int lane = 0; lane < SIMD; ++lane) {
        for (int i = 0; i < 4; ++i) {
          const int column = 2 * (lane % 4) + i % 2;
          for (int k = 0; k < 8; ++k) {
            const float a = lanes[lane / 4 * 4 + k % 4].left[k / 4 * 2 + i / 2];
            lanes[lane].sums[i] += a * lanes[column * 4 + k % 4].right[k / 4];
          }
        }
      }
      for (int lane = 0; lane < SIMD; ++lane) lanes[lane].state = State::Ready;
      has_multiplied = true;
    }
    return has_multiplied;
  }

  int threads_;
  ptrdiff_t stride_;
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

inline void launch(const Kernel& kernel, const Arguments& arguments, int groups, int threads, int cluster, size_t shared,
                   bool is_descending) {
  constexpr size_t GUARD = 64;
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  const float mark = 1234.5f;
  // Rounded up, so that vector loads are aligned as they are on a GPU.
  const size_t each = (shared + GUARD) / 4 + 1;
  Group group(threads, cluster, static_cast<ptrdiff_t>(4 * each));
  std::vector<float4> words(each * cluster);
  auto memory = [&](int rank) { return reinterpret_cast<float*>(words.data() + rank * each); };
  for (int g = 0; g < groups; g += cluster) {
    for (int rank = 0; rank < cluster; ++rank) {
      std::fill_n(memory(rank), shared, nothing);
      std::fill_n(memory(rank) + shared, GUARD, mark);
    }
    auto body = [&](int i) {
      const int rank = i / threads;
      kernel.run(arguments, Place{i - rank * threads, g + rank, memory(rank)});
    };
    group.run(body, is_descending);
    for (int rank = 0; rank < cluster; ++rank) {
      for (size_t i = 0; i < GUARD; ++i) {
        if (memory(rank)[shared + i] != mark) throw std::runtime_error("a thread wrote behind the shared memory");
      }
    }
  }
}

}  // namespace emulator
