// The bodies that go over all weights of a link: for their range, sums of masses and rates. Rows
// are near units, columns are far units. A row's columns are adjacent in memory, if there is a
// choice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/arithmetic/extremes.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/expectation/visit_rates.hpp"
#include "phew/graph/graph_view.hpp"

namespace phew::cuda {

// Widens the extremes of a link by its weights.
template <typename Format>
struct MeasureMagnitudes {
  using Bits = typename Format::Bits;
  // The extremes of each thread. They are plain numbers, because shared memory is not initialised.
  struct Shared {
    std::uint64_t largest[kNumThreads];
    std::uint64_t smallest_nonzero[kNumThreads];
    std::uint64_t num_zero[kNumThreads];
  };
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 3; }
  static constexpr unsigned kWeightsPerBlock = 16 * kNumThreads;
  static constexpr unsigned kPartSize = 16;

  EdgeView rows;
  const Bits* weights;
  Extremes* extremes;

  std::size_t num_blocks() const {
    return (rows.num_near() * rows.num_edges() + kWeightsPerBlock - 1) / kWeightsPerBlock;
  }

  PHEW_HOST_DEVICE void operator()(unsigned phase, unsigned thread, std::size_t block,
                                   Shared& shared) const {
    if (phase == 0) {
      put(shared, thread, measure(thread, block));
    } else if (phase == 1) {
      if (thread % kPartSize == 0) put(shared, thread, join(shared, thread, kPartSize, 1));
    } else if (thread == 0) {
      const Extremes all = join(shared, 0, kNumThreads, kPartSize);
      atomic_max(&extremes->largest, all.largest);
      atomic_min(&extremes->smallest_nonzero, all.smallest_nonzero);
      if (all.num_zero > 0) atomic_add(&extremes->num_zero, all.num_zero);
    }
  }

 private:
  PHEW_HOST_DEVICE Extremes measure(unsigned thread, std::size_t block) const {
    Extremes found;
    const std::size_t num_edges = rows.num_edges();
    const std::size_t num_weights = rows.num_near() * num_edges;
    for (unsigned i = thread; i < kWeightsPerBlock; i += kNumThreads) {
      const std::size_t weight = block * kWeightsPerBlock + i;
      if (weight >= num_weights) break;
      const EdgeCursor edge(rows, static_cast<std::uint32_t>(weight / num_edges),
                            static_cast<std::uint32_t>(weight % num_edges));
      const Bits magnitude = magnitude_bits(weights[edge.element]);
      const bool is_zero = magnitude == 0;
      found.widen({magnitude, is_zero ? Extremes::kNone : std::uint64_t{magnitude}, is_zero});
    }
    return found;
  }

  PHEW_HOST_DEVICE static Extremes join(const Shared& shared, unsigned first, unsigned size,
                                        unsigned step) {
    Extremes all;
    for (unsigned i = first; i < first + size; i += step) {
      all.widen({shared.largest[i], shared.smallest_nonzero[i], shared.num_zero[i]});
    }
    return all;
  }

  PHEW_HOST_DEVICE static void put(Shared& shared, unsigned thread, const Extremes& found) {
    shared.largest[thread] = found.largest;
    shared.smallest_nonzero[thread] = found.smallest_nonzero;
    shared.num_zero[thread] = found.num_zero;
  }
};

// A tile of the masses of a link's kernels, each of which joins a row and a column.
constexpr unsigned kTileSize = 32;
// The rows' length is no power of two: otherwise a column would lie in one bank of the memory.
using MassTile = std::uint64_t[kTileSize][kTileSize + 1];

// Adds up the mass of the edges of each row and column.
struct SumEdges {
  std::uint64_t* rows;
  std::uint64_t* columns;

  PHEW_HOST_DEVICE void add_row(const MassTile& tile, unsigned i, std::size_t row,
                                std::size_t /*first_column*/, unsigned num_columns) const {
    std::uint64_t sum = 0;
    for (unsigned j = 0; j < num_columns; ++j) sum += tile[i][j];
    if (sum > 0) atomic_add(rows + row, sum);
  }

  PHEW_HOST_DEVICE void add_column(const MassTile& tile, unsigned j, std::size_t column,
                                   std::size_t /*first_row*/, unsigned num_rows) const {
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < num_rows; ++i) sum += tile[i][j];
    if (sum > 0) atomic_add(columns + column, sum);
  }
};

// Adds to each column the masses of its edges times the shares of their rows.
struct PassToColumns {
  const double* shares;
  double* far;

  PHEW_HOST_DEVICE void add_row(const MassTile& /*tile*/, unsigned /*i*/, std::size_t /*row*/,
                                std::size_t /*first_column*/, unsigned /*num_columns*/) const {}

  PHEW_HOST_DEVICE void add_column(const MassTile& tile, unsigned j, std::size_t column,
                                   std::size_t first_row, unsigned num_rows) const {
    double sum = 0;
    for (unsigned i = 0; i < num_rows; ++i) {
      sum += static_cast<double>(tile[i][j]) * shares[first_row + i];
    }
    if (sum > 0) atomic_add(far + column, sum);
  }
};

// Adds to each row the masses of its edges times the shares of their columns.
struct PassToRows {
  const double* shares;
  double* far;

  PHEW_HOST_DEVICE void add_row(const MassTile& tile, unsigned i, std::size_t row,
                                std::size_t first_column, unsigned num_columns) const {
    double sum = 0;
    for (unsigned j = 0; j < num_columns; ++j) {
      sum += static_cast<double>(tile[i][j]) * shares[first_column + j];
    }
    if (sum > 0) atomic_add(far + row, sum);
  }

  PHEW_HOST_DEVICE void add_column(const MassTile& /*tile*/, unsigned /*j*/, std::size_t /*column*/,
                                   std::size_t /*first_row*/, unsigned /*num_rows*/) const {}
};

// Adds up the masses between live units, tile by tile.
template <typename MassOf, typename Sums>
struct AddMasses {
  struct Shared {
    MassTile tile;
  };
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 2; }

  EdgeView rows;
  const std::uint8_t* live_rows;
  LinkWeights<MassOf> weights;
  Sums sums;

  std::size_t num_blocks() const {
    return std::size_t{rows.num_groups} * num_tiles(rows.near_per_group) *
           num_tiles(rows.far_per_group);
  }

  PHEW_HOST_DEVICE void operator()(unsigned phase, unsigned thread, std::size_t block,
                                   Shared& shared) const {
    const std::uint32_t num_across = num_tiles(rows.far_per_group);
    const std::uint32_t num_down = num_tiles(rows.near_per_group);
    const auto group = static_cast<std::uint32_t>(block / num_across / num_down);
    const auto row = static_cast<std::uint32_t>(block / num_across % num_down) * kTileSize;
    const auto column = static_cast<std::uint32_t>(block % num_across) * kTileSize;
    const unsigned num_rows = least(kTileSize, rows.near_per_group - row);
    const unsigned num_columns = least(kTileSize, rows.far_per_group - column);
    const std::uint32_t first_row = group * rows.near_per_group + row;
    const std::uint32_t first_column = group * rows.far_per_group + column;
    if (phase == 0) {
      for (unsigned i = thread / kTileSize; i < num_rows; i += kNumThreads / kTileSize) {
        const unsigned j = thread % kTileSize;
        if (j >= num_columns) continue;
        const bool is_live = live_rows[first_row + i] && rows.far_live[first_column + j];
        shared.tile[i][j] = is_live ? kernel_mass(first_row + i, column + j) : 0;
      }
    } else if (thread < num_columns) {
      sums.add_column(shared.tile, thread, first_column + thread, first_row, num_rows);
    } else if (thread >= kTileSize && thread - kTileSize < num_rows) {
      const unsigned i = thread - kTileSize;
      sums.add_row(shared.tile, i, first_row + i, first_column, num_columns);
    }
  }

 private:
  PHEW_HOST_DEVICE static std::uint32_t num_tiles(std::uint32_t size) {
    return (size + kTileSize - 1) / kTileSize;
  }

  PHEW_HOST_DEVICE static unsigned least(unsigned left, unsigned right) {
    return left < right ? left : right;
  }

  PHEW_HOST_DEVICE std::uint64_t kernel_mass(std::uint32_t row, std::uint32_t column) const {
    const std::int64_t first = rows.first_element(row) + column * rows.far_stride;
    std::uint64_t sum = 0;
    for (std::uint32_t k = 0; k < rows.num_positions; ++k) {
      sum += weights.mass(first + k * rows.position_stride);
    }
    return sum;
  }
};

template <typename MassOf, typename Sums>
void launch_add_masses(const Device& device, const EdgeView& rows, const std::uint8_t* live_rows,
                       const LinkWeights<MassOf>& weights, const Sums& sums) {
  const AddMasses<MassOf, Sums> body{rows, live_rows, weights, sums};
  launch(device, body.num_blocks(), body);
}

// At most so many blocks count rates. Each has bins of its own and adds them to all at its end.
constexpr std::size_t kMostRateBlocks = 64;

// Counts the weights of a sample by the rate at which they are visited (see visit_rates.hpp).
template <typename MassOf>
struct CountRates {
  struct Shared {
    double sums_of_rates[kNumRateBins];
    std::uint32_t nums_weights[kNumRateBins];
  };
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 3; }

  EdgeView rows;
  const std::uint8_t* live_rows;
  LinkWeights<MassOf> weights;
  NearSharesView row_shares;
  NearSharesView column_shares;
  ColumnSample sample;
  std::uint32_t weights_per_rate;
  std::size_t num_blocks;
  RateBin* bins;

  PHEW_HOST_DEVICE void operator()(unsigned phase, unsigned thread, std::size_t block,
                                   Shared& shared) const {
    if (phase == 1) {
      for (std::size_t row = block; row < rows.num_near(); row += num_blocks) {
        if (live_rows[row]) count_row(static_cast<std::uint32_t>(row), thread, shared);
      }
      return;
    }
    for (std::size_t i = thread; i < kNumRateBins; i += kNumThreads) {
      if (phase == 0) {
        shared.sums_of_rates[i] = 0;
        shared.nums_weights[i] = 0;
      } else if (shared.nums_weights[i] > 0) {
        atomic_add(&bins[i].num_weights, static_cast<double>(shared.nums_weights[i]));
        atomic_add(&bins[i].sum_of_rates, shared.sums_of_rates[i]);
      }
    }
  }

 private:
  PHEW_HOST_DEVICE void count_row(std::uint32_t row, unsigned thread, Shared& shared) const {
    const std::uint32_t first_column = rows.first_far(row);
    const std::size_t num_edges = sample.num_columns(row, rows.far_per_group) * rows.num_positions;
    const std::size_t step = std::size_t{kNumThreads} * weights_per_rate;
    for (std::size_t i = std::size_t{thread} * weights_per_rate; i < num_edges; i += step) {
      const std::size_t far = sample.column(row, i / rows.num_positions);
      EdgeCursor edge(
          rows, row, static_cast<std::uint32_t>(far * rows.num_positions + i % rows.num_positions));
      const std::uint32_t column = first_column + edge.far;
      if (!rows.far_live[column]) continue;
      std::uint64_t mass = 0;
      std::uint32_t num_weights = 0;
      for (std::uint32_t k = 0; k < weights_per_rate; ++k) {
        mass += weights.mass(edge.element);
        num_weights += weights.is_edge(edge.element);
        edge.move_on(rows);
      }
      if (num_weights == 0) continue;
      const VisitRate rate_of(row_shares, row, column_shares, column, num_weights);
      const double rate = rate_of(mass);
      const std::size_t bin = bin_of_rate(rate);
      atomic_add(&shared.nums_weights[bin], num_weights);
      atomic_add(&shared.sums_of_rates[bin], rate * num_weights);
    }
  }
};

}  // namespace phew::cuda
