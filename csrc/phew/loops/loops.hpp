// The hot loops over adjacent weights and walkers, compiled for several instruction sets. All of
// them compute the same bits; which one runs is chosen when the first is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/arithmetic/philox.hpp"

namespace phew {

// The largest magnitude and, less one, the smallest: in unsigned numbers zero is then the largest,
// so that the smallest is that of the nonzero ones. Magnitudes are as bits.
struct Extremes {
  std::uint64_t largest = 0;
  std::uint64_t smallest_less_one = ~std::uint64_t{0};
  std::uint64_t num_zero = 0;
};

// What the walkers of a batch draw by at one link or fork.
struct DrawKey {
  PhiloxKey key;
  // Walker n is on walk first_walk + 2 n: those of one direction are two apart.
  std::uint64_t first_walk;
  std::uint32_t index;
  Purpose purpose;
};

// The edges of one unit in a weighted link, fewer than 2^31.
struct EdgeLayout {
  std::uint32_t num_positions;
  // The element of the parameter that edge 0 is.
  std::int64_t first_element;
  std::int64_t far_stride;
  std::int64_t position_stride;
};

// The masses of n weights.
using MassFunction = void (*)(const void* weights, std::size_t n, const MassScale& scale,
                              std::uint32_t* masses);

// Masses are those of `num_channels` kernels that lie one behind the other, of `num_positions`
// each.
struct Loops {
  const char* name;
  // Widens the extremes by n weights. By DType.
  void (*extremes[4])(const void* weights, std::size_t n, Extremes& extremes);
  // By DType, and by power: 0, 1, 2, -1.
  MassFunction masses[4][4];
  // Adds the mass of each kernel to its total and returns the mass of all.
  std::uint64_t (*add_totals)(const std::uint32_t* masses, std::uint32_t num_positions,
                              std::size_t num_channels, std::uint64_t* totals);
  // Adds the mass of each kernel, times a factor, to a sum.
  void (*add_scaled)(const std::uint32_t* masses, std::uint32_t num_positions,
                     std::size_t num_channels, double factor, double* sums);
  // The sum of the masses of all kernels, each times a factor of its own.
  double (*sum_scaled)(const std::uint32_t* masses, std::uint32_t num_positions,
                       std::size_t num_channels, const double* factors);
  // Where n edges lead to and where their weights are: `edges` are numbered by far unit and then
  // by kernel position.
  void (*locate)(const EdgeLayout& layout, const std::uint32_t* edges, std::size_t n,
                 std::uint32_t* far_units, std::int64_t* elements);
  // What each of n walkers draws: an integer in [0, total).
  void (*draw)(const DrawKey& key, const std::uint32_t* walkers, std::size_t n, std::uint64_t total,
               std::uint64_t* draws);
};

// Those for each instruction set that this processor has, the fastest last.
std::vector<const Loops*> supported_loops();

// The fastest, or those that the environment variable PHEW_INSTRUCTION_SET names when this is
// called for the first time: baseline, avx2 or avx512. Throws std::invalid_argument if the
// processor has no such instructions.
const Loops& loops();

}  // namespace phew
