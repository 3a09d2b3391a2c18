// Included before every file of mlx-c, which was written for Apple's compiler on arm64.
#pragma once

#include <stdint.h>

// Off arm64 mlx-c leaves out its 16-bit float accessors. Only bit patterns pass through them, so integers do.
#if !defined(__aarch64__)
typedef uint16_t float16_t;
typedef uint16_t bfloat16_t;
#define HAS_FLOAT16
#define HAS_BFLOAT16
#endif

#if defined(__cplusplus)
#include <version>
#if !defined(__cpp_lib_format)
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>

// GCC 12 has no std::format. mlx-c uses it with plain `{}` fields alone, which this covers.
namespace std {
template <class... Values>
string format(string_view pattern, const Values&... values) {
  ostringstream out;
  size_t from = 0;
  [[maybe_unused]] auto put = [&](const auto& value) {
    const size_t field = pattern.find("{}", from);
    if (field == string_view::npos) {
      return;
    }
    out << pattern.substr(from, field - from) << value;
    from = field + 2;
  };
  (put(values), ...);
  out << pattern.substr(from);
  return out.str();
}
} // namespace std
#endif
#endif
