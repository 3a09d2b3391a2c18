// Stands in for Metal's own headers, so that clang can check the GPU kernels' Metal text: address spaces, types, names.
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define kernel
// A word of the language for the address space of local variables, so no name of anything.
#define thread

typedef unsigned short ushort;
typedef float float2 __attribute__((ext_vector_type(2)));
typedef float float4 __attribute__((ext_vector_type(4)));

struct uint3 {
  unsigned x, y, z;
};

namespace metal {
enum class mem_flags { mem_threadgroup };
template <typename T>
T simd_sum(T);
template <typename T>
T simd_shuffle(T, ushort);
template <typename T>
T simd_shuffle_xor(T, ushort);
float fabs(float);
float fmax(float, float);
float fmin(float, float);
float clamp(float, float, float);
namespace precise {
float exp(float);
float log(float);
float sqrt(float);
float tanh(float);
}  // namespace precise
}  // namespace metal

void threadgroup_barrier(metal::mem_flags);
