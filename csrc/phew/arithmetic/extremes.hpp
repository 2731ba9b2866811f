// The extreme magnitudes of the weights of a link, which its masses are scaled by.
#pragma once

#include <cstdint>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// Magnitudes are given as bits (see mass.hpp).
//
//   Float16 weights 1.0, 0 and -2.0, as bits 0x3C00, 0 and 0xC000: largest 0x4000,
//   smallest_nonzero 0x3C00, num_zero 1.
struct Extremes {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  std::uint64_t largest = 0;
  // kNone if there is no nonzero one.
  std::uint64_t smallest_nonzero = kNone;
  std::uint64_t num_zero = 0;

  PHEW_HOST_DEVICE void widen(const Extremes& other) {
    if (other.largest > largest) largest = other.largest;
    if (other.smallest_nonzero < smallest_nonzero) smallest_nonzero = other.smallest_nonzero;
    num_zero += other.num_zero;
  }
};

}  // namespace phew
