// The hot loops over adjacent weights and walkers, compiled for several instruction sets. All sets
// compute the same bits. The one that runs is chosen when the first loop is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/extremes.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/arithmetic/philox.hpp"
#include "phew/loops/sparse_loops.hpp"

namespace phew {

// The random numbers that the walkers of a batch draw at one link or fork.
struct DrawKey {
  PhiloxKey key;
  // Walker n is on walk first_walk + 2 n, because the walks of one direction are two apart.
  std::uint64_t first_walk;
  std::uint32_t index;
  Purpose purpose;
};

// The edges of one unit in a weighted link, fewer than 2^31.
struct EdgeLayout {
  std::uint32_t num_positions;
  // Edge 0 is this element of the parameter.
  std::int64_t first_element;
  std::int64_t far_stride;
  std::int64_t position_stride;
};

// Computes the masses of n weights.
using MassFunction = void (*)(const void* weights, std::size_t n, const MassScale& scale,
                              std::uint32_t* masses);

// Copies n numbers of one type, those whose bit is not set as zeros, to other memory or to the
// same. Returns whether any of these was another number, of which -0 is one. Bit 3 of byte 2 is
// that of number 19.
using ZeroFunction = bool (*)(const void* numbers, const std::uint8_t* kept, std::size_t n,
                              void* zeroed);

// Copies a matrix as its transpose; strides are in numbers.
using TransposeFunction = void (*)(const void* from, std::size_t from_stride, std::size_t num_rows,
                                   std::size_t num_columns, void* to, std::size_t to_stride);

// The loops for one instruction set. Where they take masses, these belong to `num_channels` kernels
// of `num_positions` weights each, one kernel behind the other.
struct Loops {
  const char* name;
  // Widens the extremes by n weights. Indexed by DType.
  void (*extremes[4])(const void* weights, std::size_t n, Extremes& extremes);
  // Indexed by DType and by the power's last two bits: 0, 1, 2, -1.
  MassFunction masses[4][4];
  // Adds the mass of each kernel to its total and returns the mass of all.
  std::uint64_t (*add_totals)(const std::uint32_t* masses, std::uint32_t num_positions,
                              std::size_t num_channels, std::uint64_t* totals);
  // Sets the cumulative masses of entries, which are num_per_entry masses each, but for the last
  // one. They begin from a total, which is returned as it is behind the last one.
  std::uint64_t (*cumulate)(const std::uint32_t* masses, std::size_t num_masses,
                            std::size_t num_per_entry, std::uint64_t total,
                            std::uint64_t* cumulative);
  // Adds the mass of each kernel, times a factor, to a sum.
  void (*add_scaled)(const std::uint32_t* masses, std::uint32_t num_positions,
                     std::size_t num_channels, double factor, double* sums);
  // Returns the sum of the masses of all kernels, each times a factor of its own.
  double (*sum_scaled)(const std::uint32_t* masses, std::uint32_t num_positions,
                       std::size_t num_channels, const double* factors);
  // Finds out where n edges lead to and where their weights are. Edges are numbered by far unit and
  // then by kernel position: with 9 positions, edge 20 leads to far unit 2 at position 2.
  void (*locate)(const EdgeLayout& layout, const std::uint32_t* edges, std::size_t n,
                 std::uint32_t* far_units, std::int64_t* elements);
  // Draws an integer in [0, total) for each of n walkers.
  void (*draw)(const DrawKey& key, const std::uint32_t* walkers, std::size_t n, std::uint64_t total,
               std::uint64_t* draws);
  // For numbers of 2, 4 and 8 bytes.
  ZeroFunction zero_pruned[3];
  TransposeFunction transpose[3];
  // For values of float64, float32 and bfloat16.
  const SparseLoops* sparse;
};

// Returns the loops for each instruction set that this processor has, the fastest last.
std::vector<const Loops*> supported_loops();

// Returns the fastest loops, or those that the environment variable PHEW_INSTRUCTION_SET names when
// this is called for the first time: baseline, avx2 or avx512. Throws std::invalid_argument if the
// processor has no such instructions.
const Loops& loops();

}  // namespace phew
