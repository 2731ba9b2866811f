// The weights of a link in the order of the memory: groups of rows of columns of kernel positions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/graph/graph.hpp"
#include "phew/loops/loops.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/column_sample.hpp"
#include "phew/weights/link_buffers.hpp"

namespace phew {

// Rows are the targets or the sources, whichever lets columns be adjacent.
//
//   The convolution of graph.hpp: 2 groups of 3 rows (targets) of 2 columns (sources) of 9
//   positions. The rows of a transposed convolution are its sources.
class WeightRows {
 public:
  WeightRows(const WeightedLink& link, const LinkBuffers& buffers);

  std::uint32_t num_groups() const { return num_groups_; }
  std::uint32_t num_rows() const { return num_rows_; }
  std::uint32_t num_columns() const { return num_columns_; }
  std::uint32_t num_positions() const { return num_positions_; }
  bool rows_are_targets() const { return rows_are_targets_; }

  // Calls visit(weights, n) for the weights of the columns [begin, end) of a row, in their order,
  // n at a time: in place where they are adjacent, else copied.
  template <typename Visit>
  void visit(std::uint32_t group, std::uint32_t row, std::uint32_t begin, std::uint32_t end,
             const Visit& visit) const {
    const std::size_t num_weights = std::size_t{end - begin} * num_positions_;
    const std::int64_t first = element(group, row, begin);
    if (adjacent_) {
      visit(buffers_.weight(first), num_weights);
      return;
    }
    std::uint64_t copies[kCopiesPerVisit];
    for (std::size_t i = 0; i < num_weights; i += kCopiesPerVisit) {
      const std::size_t n = std::min(kCopiesPerVisit, num_weights - i);
      copy(first, i, n, copies);
      visit(static_cast<const void*>(copies), n);
    }
  }

  // Loads the columns [begin, end) of a row into the cache, if they are adjacent.
  void prefetch(std::uint32_t group, std::uint32_t row, std::uint32_t begin,
                std::uint32_t end) const {
    if (!adjacent_ || row >= num_rows_) return;
    constexpr std::size_t kCacheLine = 64;
    const auto* weights = static_cast<const char*>(buffers_.weight(element(group, row, begin)));
    const std::size_t size = std::size_t{end - begin} * num_positions_ * size_of(buffers_.dtype);
    for (std::size_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(weights + i);
  }

 private:
  std::int64_t element(std::uint32_t group, std::uint32_t row, std::uint32_t column) const {
    return offset_ + group * group_stride_ + row * row_stride_ + column * column_stride_;
  }

  static constexpr std::size_t kCopiesPerVisit = 256;

  // Copies the weights number i to i + n of the columns that begin at element `first`.
  void copy(std::int64_t first, std::size_t i, std::size_t n, void* copies) const;

  LinkBuffers buffers_;
  std::uint32_t num_groups_;
  std::uint32_t num_rows_;
  std::uint32_t num_columns_;
  std::uint32_t num_positions_;
  std::int64_t group_stride_;
  std::int64_t row_stride_;
  std::int64_t column_stride_;
  std::int64_t position_stride_;
  std::int64_t offset_;
  bool rows_are_targets_;
  bool adjacent_;
};

// Turns weights that lie one behind the other into masses.
class MassConverter {
 public:
  MassConverter(DType dtype, int power, const MassScale& scale)
      : convert_(loops().masses[static_cast<int>(dtype)][power & 3]), scale_(scale) {}

  void operator()(const void* weights, std::size_t n, std::uint32_t* masses) const {
    convert_(weights, n, scale_, masses);
  }

 private:
  MassFunction convert_;
  MassScale scale_;
};

// Sets the masses of the kernels of dead units to 0.
inline void silence_dead(const std::uint8_t* live, std::size_t num_units,
                         std::uint32_t num_positions, std::uint32_t* masses) {
  for (std::size_t unit = 0; unit < num_units; ++unit) {
    if (!live[unit]) std::fill_n(masses + unit * num_positions, num_positions, 0);
  }
}

// The live flags of a link's rows and columns.
struct LiveRows {
  const std::uint8_t* rows;
  const std::uint8_t* columns;
  bool all_columns;

  LiveRows(const WeightRows& weights, const Flags& sources, const Flags& targets)
      : rows((weights.rows_are_targets() ? targets : sources).data()),
        columns((weights.rows_are_targets() ? sources : targets).data()) {
    const Flags& flags = weights.rows_are_targets() ? sources : targets;
    all_columns = std::find(flags.begin(), flags.end(), 0) == flags.end();
  }
};

// Calls visit(thread, row, column, num_columns, masses) for all kernels between live units, several
// adjacent columns at a time. Rows and columns are numbered over all groups; to dead columns masses
// are 0. Only of the columns that are in a sample.
template <typename Visit>
void for_each_mass(Workers& workers, const WeightRows& rows, const LiveRows& live,
                   const MassConverter& convert, const ColumnSample& sample, const Visit& visit) {
  constexpr std::size_t kMassesPerStep = 2048;
  constexpr std::size_t kMassesPerTask = 32'768;
  const std::size_t num_positions = rows.num_positions();
  const std::size_t num_columns = rows.num_columns();
  const std::size_t num_rows = std::size_t{rows.num_groups()} * rows.num_rows();
  if (num_rows * num_columns * num_positions == 0) return;
  const bool is_whole = sample.every == 1;
  const std::size_t step =
      is_whole ? std::min(std::max<std::size_t>(1, kMassesPerStep / num_positions), num_columns)
               : ColumnSample::kSegment;
  const std::size_t stride = is_whole ? step : sample.stride();
  const std::size_t rows_per_task =
      sample.every * std::max<std::size_t>(1, kMassesPerTask / (num_columns * num_positions));
  std::vector<std::vector<std::uint32_t>> buffers(workers.size());
  workers.for_each(
      (num_rows + rows_per_task - 1) / rows_per_task, [&](unsigned thread, std::size_t task) {
        std::vector<std::uint32_t>& masses = buffers[thread];
        masses.resize(step * num_positions);
        const std::size_t end = std::min((task + 1) * rows_per_task, num_rows);
        for (std::size_t row = task * rows_per_task; row < end; ++row) {
          if (!live.rows[row]) continue;
          const std::size_t group = row / rows.num_rows();
          for (std::size_t first = sample.begin(row); first < num_columns; first += stride) {
            const std::size_t num = std::min(step, num_columns - first);
            const std::size_t column = group * num_columns + first;
            std::uint32_t* next = masses.data();
            rows.visit(static_cast<std::uint32_t>(group),
                       static_cast<std::uint32_t>(row % rows.num_rows()),
                       static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(first + num),
                       [&](const void* weights, std::size_t n) {
                         convert(weights, n, next);
                         next += n;
                       });
            if (!live.all_columns) {
              silence_dead(live.columns + column, num, rows.num_positions(), masses.data());
            }
            visit(thread, row, column, num, masses.data());
          }
        }
      });
}

}  // namespace phew
