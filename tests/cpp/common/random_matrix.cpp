#include "common/random_matrix.hpp"

#include <numeric>

RandomMatrix::RandomMatrix(Random& random, std::size_t height, std::size_t width, double density)
    : num_rows(height),
      num_columns(width),
      kept(height * width),
      bits((height * width + 7) / 8),
      row_starts(height + 1) {
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (random.fraction() >= density) continue;
    kept[i] = true;
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1U << i % 8);
    narrow_columns.push_back(static_cast<std::uint16_t>(i % width));
    wide_columns.push_back(static_cast<std::uint32_t>(i % width));
    ++row_starts[i / width + 1];
  }
  std::partial_sum(row_starts.begin(), row_starts.end(), row_starts.begin());
  narrow_columns.shrink_to_fit();
  wide_columns.shrink_to_fit();
}

phew::SparseMatrix RandomMatrix::view(const void* values, bool wide) const {
  const void* columns = narrow_columns.data();
  if (wide) columns = wide_columns.data();
  return {values, columns, row_starts.data(), wide};
}
