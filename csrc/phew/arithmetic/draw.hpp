// The arithmetic of a random choice: draw an integer below the total mass of a unit's edges, and
// find the edge whose cumulative mass is the first above it. The search goes through a table of the
// cumulative masses of all edges, or through a coarser table and then the edges of the entry found.
#pragma once

#include <cstdint>

#include "phew/arithmetic/macros.hpp"
#include "phew/arithmetic/philox.hpp"

namespace phew {

// The purpose of a random number: to choose a link that leaves a unit (its counter has the index of
// the space), or an edge of a link (the index of the link).
enum class Purpose : std::uint8_t { kFork = 0, kEdge = 1 };

// Returns the high half of the product.
PHEW_HOST_DEVICE inline std::uint64_t multiply_high(std::uint64_t left, std::uint64_t right) {
#ifdef __CUDA_ARCH__
  return __umul64hi(left, right);
#else
  __extension__ using Product = unsigned __int128;
  return static_cast<std::uint64_t>(Product{left} * right >> 64);
#endif
}

PHEW_HOST_DEVICE inline PhiloxKey make_key(std::uint64_t seed) {
  return {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
}

// Returns the 64 random bits of a walk at a space or link.
PHEW_HOST_DEVICE inline std::uint64_t random_bits(PhiloxKey key, std::uint64_t walk,
                                                  std::uint32_t index, Purpose purpose) {
  const PhiloxCounter block =
      philox4x32({{static_cast<std::uint32_t>(walk), static_cast<std::uint32_t>(walk >> 32), index,
                   static_cast<std::uint32_t>(purpose)}},
                 key);
  return std::uint64_t{block.words[1]} << 32 | block.words[0];
}

// Draws an integer in [0, total).
PHEW_HOST_DEVICE inline std::uint64_t draw(PhiloxKey key, std::uint64_t walk, std::uint32_t index,
                                           Purpose purpose, std::uint64_t total) {
  return multiply_high(random_bits(key, walk, index, purpose), total);
}

// Returns the index of the first cumulative mass above a draw, which is below the last one. There
// are no branches, because they would be mispredicted.
//
//   Masses 3 0 1 4 make cumulative 3 3 4 8. A draw of 3 falls to index 2.
template <typename Cumulative>
PHEW_HOST_DEVICE inline std::uint32_t first_above(const Cumulative& cumulative, std::uint32_t size,
                                                  std::uint64_t draw) {
  std::uint32_t first = 0;
  while (size > 1) {
    const std::uint32_t half = size / 2;
    first += half & (0 - static_cast<std::uint32_t>(cumulative[first + half - 1] <= draw));
    size -= half;
  }
  return first;
}

// Returns the same index from the masses themselves, by going through all of them: for a few.
template <typename Masses>
PHEW_HOST_DEVICE inline std::uint32_t first_above_sum(const Masses& masses, std::uint32_t size,
                                                      std::uint64_t draw) {
  std::uint32_t first = 0;
  std::uint64_t cumulative = 0;
  for (std::uint32_t i = 0; i + 1 < size; ++i) {
    cumulative += masses[i];
    first += static_cast<std::uint32_t>(cumulative <= draw);
  }
  return first;
}

}  // namespace phew
