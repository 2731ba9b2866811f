// Cumulative masses of the edges of several units, by channel: the tables that walks draw from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "phew/graph_view.hpp"

namespace phew {

// Units that share a sweep of the weights. In one direction a unit's weights are a column: 16
// adjacent columns fill the cache lines that a row of the sweep reads.
constexpr std::size_t kUnitsPerBlock = 16;

// The sum of the masses of a kernel.
template <typename MassOf>
std::uint64_t sum_kernel(const MassOf& mass_of, const typename MassOf::Bits* kernel,
                         std::int64_t stride, std::uint32_t num_positions) {
  std::uint64_t sum = 0;
  for (std::uint32_t k = 0; k < num_positions; ++k) sum += mass_of(kernel[k * stride]);
  return sum;
}

// One row a unit of a block.
//
//   Kernels of mass 3 0 1 4 to four far units, of which the last is dead: 3 3 4 4.
class ChannelMasses {
 public:
  explicit ChannelMasses(std::uint32_t far_per_group)
      // Not a large power of two, or the rows of a block would compete for the same lines of the
      // cache.
      : row_size_(far_per_group | 8), rows_(new std::uint64_t[row_size_ * kUnitsPerBlock]) {}

  static std::vector<ChannelMasses> for_threads(unsigned num_threads, std::uint32_t far_per_group) {
    std::vector<ChannelMasses> masses;
    masses.reserve(num_threads);
    while (masses.size() < num_threads) masses.emplace_back(far_per_group);
    return masses;
  }

  const std::uint64_t* row(std::size_t index) const { return &rows_[index * row_size_]; }

  // Fills the first num_units rows, in one sweep of the weights in the order of their storage.
  template <typename MassOf>
  void build(const MassOf& mass_of, const typename MassOf::Bits* weights, const EdgeView& edges,
             const std::uint32_t* units, std::size_t num_units) {
    std::array<std::uint64_t, kUnitsPerBlock> totals{};
    std::array<const typename MassOf::Bits*, kUnitsPerBlock> kernels;
    std::array<const std::uint8_t*, kUnitsPerBlock> live;
    for (std::size_t i = 0; i < num_units; ++i) {
      kernels[i] = weights + edges.first_element(units[i]);
      live[i] = edges.far_live + edges.first_far(units[i]);
    }
    const auto add = [&](std::size_t i, std::uint32_t far) {
      const std::uint64_t mass = sum_kernel(mass_of, kernels[i] + far * edges.far_stride,
                                            edges.position_stride, edges.num_positions);
      totals[i] += live[i][far] ? mass : 0;
      rows_[i * row_size_ + far] = totals[i];
    };
    if (edges.near_stride < edges.far_stride) {
      for (std::uint32_t far = 0; far < edges.far_per_group; ++far) {
        for (std::size_t i = 0; i < num_units; ++i) add(i, far);
      }
    } else {
      for (std::size_t i = 0; i < num_units; ++i) {
        for (std::uint32_t far = 0; far < edges.far_per_group; ++far) add(i, far);
      }
    }
  }

  // Gives each edge of a row's unit to a live unit mass 1.
  void set_equal(std::size_t row, const EdgeView& edges, std::uint32_t unit) {
    const std::uint8_t* live = edges.far_live + edges.first_far(unit);
    std::uint64_t total = 0;
    for (std::uint32_t far = 0; far < edges.far_per_group; ++far) {
      total += live[far] ? edges.num_positions : 0;
      rows_[row * row_size_ + far] = total;
    }
  }

 private:
  std::size_t row_size_;
  // Not a vector: it need not be zeroed.
  std::unique_ptr<std::uint64_t[]> rows_;
};

}  // namespace phew
