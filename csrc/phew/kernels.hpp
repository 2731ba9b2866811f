// The hot loops over adjacent weights and walkers, compiled for several instruction sets. All of
// them compute the same bits; which one runs is chosen when the first is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/hop.hpp"
#include "phew/mass.hpp"
#include "phew/philox.hpp"

namespace phew {

// The largest magnitude and, less one, the smallest: in unsigned numbers zero is then the largest,
// so that the smallest is that of the nonzero ones. Magnitudes are as bits.
struct Extremes {
  std::uint64_t largest = 0;
  std::uint64_t smallest_less_one = ~std::uint64_t{0};
  bool has_zero = false;
};

// What the walks of a batch draw at one link or fork.
struct DrawKey {
  PhiloxKey key;
  // Walker number n of the batch is on walk first_walk + 2 n: those of one direction are two apart.
  std::uint64_t first_walk;
  std::uint32_t index;
  Purpose purpose;
};

// The masses of n weights.
using MassFunction = void (*)(const void* weights, std::size_t n, const MassScale& scale,
                              std::uint32_t* masses);

// Masses are those of `num_channels` kernels that lie one behind the other, of `num_positions`
// each.
struct Kernels {
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
  // The 64 random bits of each walker.
  void (*random_bits)(const DrawKey& draw, const std::uint32_t* numbers, std::size_t n,
                      std::uint64_t* bits);
};

// Those for each instruction set that this processor has, the fastest last.
std::vector<const Kernels*> supported_kernels();

// The fastest, or those that the environment variable PHEW_INSTRUCTION_SET names when this is
// called for the first time: baseline, avx2 or avx512. Throws std::invalid_argument if the
// processor has no such instructions.
const Kernels& kernels();

}  // namespace phew
