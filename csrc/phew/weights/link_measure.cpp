#include "phew/weights/link_measure.hpp"

#include <algorithm>
#include <cstddef>

namespace phew {
namespace {

double to_double(DType dtype, std::uint64_t bits) {
  return with_format(dtype, [&](auto format) {
    using Format = decltype(format);
    return Format::to_double(static_cast<typename Format::Bits>(bits));
  });
}

bool is_finite(DType dtype, std::uint64_t bits) {
  return with_format(dtype, [&](auto format) { return bits < decltype(format)::kInfinity; });
}

}  // namespace

MagnitudeRange make_range(const Extremes& extremes, DType dtype) {
  const auto& [largest, smallest_nonzero, num_zero] = extremes;
  if (largest == 0) return {0, 0, true, num_zero};
  if (!is_finite(dtype, largest)) return {0, 0, false, num_zero};
  return {to_double(dtype, smallest_nonzero), to_double(dtype, largest), true, num_zero};
}

MagnitudeRange measure_magnitudes(Workers& workers, const WeightRows& rows, DType dtype) {
  constexpr std::size_t kWeightsPerTask = 65'536;
  const auto widen = loops().extremes[static_cast<int>(dtype)];
  const std::size_t row_size = std::size_t{rows.num_columns()} * rows.num_positions();
  const std::size_t num_rows = std::size_t{rows.num_groups()} * rows.num_rows();
  if (num_rows * row_size == 0) return {};
  const std::size_t rows_per_task = std::max<std::size_t>(1, kWeightsPerTask / row_size);
  std::vector<Extremes> extremes(workers.size());
  workers.for_each(
      (num_rows + rows_per_task - 1) / rows_per_task, [&](unsigned thread, std::size_t task) {
        // A copy, because the thread's extremes share a cache line with those of others.
        Extremes found = extremes[thread];
        const std::size_t end = std::min((task + 1) * rows_per_task, num_rows);
        for (std::size_t row = task * rows_per_task; row < end; ++row) {
          rows.visit(static_cast<std::uint32_t>(row / rows.num_rows()),
                     static_cast<std::uint32_t>(row % rows.num_rows()), 0, rows.num_columns(),
                     [&](const void* weights, std::size_t n) { widen(weights, n, found); });
        }
        extremes[thread] = found;
      });
  Extremes all;
  for (const Extremes& found : extremes) all.widen(found);
  return make_range(all, dtype);
}

EdgeTotals sum_edges(Workers& workers, const WeightRows& rows, const Flags& live_sources,
                     const Flags& live_targets, const MassConverter& convert) {
  EdgeTotals totals{UnitMasses(live_sources.size()), UnitMasses(live_targets.size())};
  UnitMasses& row_totals = rows.rows_are_targets() ? totals.targets : totals.sources;
  UnitMasses& column_totals = rows.rows_are_targets() ? totals.sources : totals.targets;
  const unsigned num_threads = num_threads_by_columns(workers, rows);
  std::vector<UnitMasses> parts(num_threads, UnitMasses(column_totals.size()));
  for_each_mass(
      workers, rows, LiveRows(rows, live_sources, live_targets), convert, {},
      [&](unsigned thread, std::size_t row, std::size_t column, std::size_t num_columns,
          const std::uint32_t* masses) {
        row_totals[row] +=
            loops().add_totals(masses, rows.num_positions(), num_columns, &parts[thread][column]);
      },
      num_threads);
  for (const UnitMasses& part : parts) {
    for (std::size_t column = 0; column < part.size(); ++column) {
      column_totals[column] += part[column];
    }
  }
  return totals;
}

}  // namespace phew
