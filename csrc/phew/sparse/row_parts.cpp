#include "phew/sparse/row_parts.hpp"

#include <cstdint>

namespace phew {

namespace {

// A row takes as long as so many kept weights, beside its own.
constexpr std::int64_t kCostOfRow = 8;

}  // namespace

std::vector<Range> row_parts(const SparseMatrix& matrix, std::size_t num_rows, std::size_t num) {
  const auto cost_before = [&](std::size_t row) {
    return matrix.row_starts[row] + kCostOfRow * static_cast<std::int64_t>(row);
  };
  const auto total = static_cast<double>(cost_before(num_rows));
  std::vector<Range> parts;
  std::size_t row = 0;
  for (std::size_t i = 1; i <= num && row < num_rows; ++i) {
    const std::size_t first = row;
    const double bound = total * static_cast<double>(i) / static_cast<double>(num);
    while (row < num_rows && (i == num || static_cast<double>(cost_before(row)) < bound)) ++row;
    if (row > first) parts.push_back({first, row});
  }
  return parts;
}

}  // namespace phew
