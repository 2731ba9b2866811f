// Conversions between bfloat16, which is the upper half of a float, and float.
#pragma once

#include <cstdint>
#include <cstring>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// A bfloat16 number: 1.5F has the bits 0x3FC0'0000, so that its upper half is 0x3FC0.
struct BFloat16Number {
  std::uint16_t bits;
};

PHEW_HOST_DEVICE inline float to_float(BFloat16Number number) {
  const std::uint32_t bits = std::uint32_t{number.bits} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Rounds to the nearest number, and to the even one of two as near. NaN remains NaN.
PHEW_HOST_DEVICE inline BFloat16Number to_bfloat16(float number) {
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  constexpr std::uint32_t kInfinity = 0x7F80'0000;
  constexpr std::uint16_t kQuietNan = 0x7FC0;
  if ((bits & 0x7FFF'FFFF) > kInfinity) return {kQuietNan};
  return {static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

}  // namespace phew
