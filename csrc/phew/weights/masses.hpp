// The masses of a link's weights, row by row in the order of the memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "phew/arithmetic/mass.hpp"
#include "phew/graph/graph.hpp"
#include "phew/loops/loops.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/column_sample.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// A mass that no edge has, because masses are below 2^31.
constexpr std::uint32_t kNoMass = ~std::uint32_t{0};

// Turns adjacent weights into masses.
class MassConverter {
 public:
  // Absent edges get `absent_mass`.
  MassConverter(const LinkBuffers& buffers, int power, const MassScale& scale,
                std::uint32_t absent_mass = 0)
      : MassConverter(buffers, loops().masses[static_cast<int>(buffers.dtype)][power & 3], scale,
                      absent_mass) {}

  // Returns a converter by which all edges have mass 1, and absent ones 0.
  static MassConverter equal(const LinkBuffers& buffers) {
    const auto set_ones = [](const void* /*weights*/, std::size_t n, const MassScale& /*scale*/,
                             std::uint32_t* masses) { std::fill_n(masses, n, 1); };
    return {buffers, set_ones, MassScale{}, 0};
  }

  void operator()(const void* weights, std::size_t n, std::uint32_t* masses) const {
    convert_(weights, n, scale_, masses);
    if (set_absent_ != nullptr) set_absent_(weights, n, absent_mass_, masses);
  }

 private:
  MassConverter(const LinkBuffers& buffers, MassFunction convert, const MassScale& scale,
                std::uint32_t absent_mass)
      : convert_(convert), scale_(scale), absent_mass_(absent_mass) {
    if (!buffers.has_absent) return;
    set_absent_ = with_format(
        buffers.dtype, [](auto format) { return &set_absent<typename decltype(format)::Bits>; });
  }

  template <typename Bits>
  static void set_absent(const void* weights, std::size_t n, std::uint32_t mass,
                         std::uint32_t* masses) {
    const auto* weight = static_cast<const Bits*>(weights);
    for (std::size_t i = 0; i < n; ++i) {
      if (is_absent(weight[i])) masses[i] = mass;
    }
  }

  MassFunction convert_;
  MassScale scale_;
  // Null if no edge is absent.
  void (*set_absent_)(const void* weights, std::size_t n, std::uint32_t mass,
                      std::uint32_t* masses) = nullptr;
  std::uint32_t absent_mass_;
};

// Sets the masses of the kernels of dead units to 0.
inline void clear_dead_kernels(const std::uint8_t* live, std::size_t num_units,
                               std::uint32_t num_positions, std::uint32_t* masses) {
  for (std::size_t unit = 0; unit < num_units; ++unit) {
    if (!live[unit]) std::fill_n(masses + unit * num_positions, num_positions, 0);
  }
}

// The live flags of a link's rows and columns, both numbered over all groups.
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

// Returns the number of threads that are worth an array of all columns for each of them. Together
// these take at most a byte for each weight.
inline unsigned num_threads_by_columns(const Workers& workers, const WeightRows& rows) {
  const std::size_t per_column = std::size_t{rows.num_rows()} * rows.num_positions();
  return static_cast<unsigned>(
      std::clamp<std::size_t>(per_column / sizeof(std::uint64_t), 1, workers.size()));
}

// Calls visit(thread, row, column, num_columns, masses) for the kernels of live rows, several
// adjacent columns at a time, of the columns that are in a sample. Rows and columns are numbered
// over all groups. Dead columns have masses of 0. Threads from most_threads on take no part.
template <typename Visit>
void for_each_mass(Workers& workers, const WeightRows& rows, const LiveRows& live,
                   const MassConverter& convert, const ColumnSample& sample, const Visit& visit,
                   unsigned most_threads = std::numeric_limits<unsigned>::max()) {
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
      (num_rows + rows_per_task - 1) / rows_per_task,
      [&](unsigned thread, std::size_t task) {
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
              clear_dead_kernels(live.columns + column, num, rows.num_positions(), masses.data());
            }
            visit(thread, row, column, num, masses.data());
          }
        }
      },
      most_threads);
}

}  // namespace phew
