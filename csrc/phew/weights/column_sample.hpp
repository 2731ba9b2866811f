// Which weights of a link are looked at where a part of them stands for all.
#pragma once

#include <cstddef>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// Short segments of adjacent columns: of a row those whose number, added to the row's, is a
// multiple of `every`. So each row and each column has its part, as what walks visit differs most
// between units.
//
//   Every second: columns 0-15 and 32-47 of row 0, columns 16-31 and 48-63 of row 1.
struct ColumnSample {
  static constexpr std::size_t kSegment = 16;

  std::size_t every = 1;

  // The columns begin, begin + stride, ... of a row, each with those up to the next segment.
  PHEW_HOST_DEVICE std::size_t begin(std::size_t row) const {
    return (every - row % every) % every * kSegment;
  }
  PHEW_HOST_DEVICE std::size_t stride() const { return every * kSegment; }

  PHEW_HOST_DEVICE std::size_t num_columns(std::size_t row, std::size_t num_of_row) const {
    const std::size_t first = begin(row);
    if (first >= num_of_row) return 0;
    const std::size_t rest = (num_of_row - first) % stride();
    return (num_of_row - first) / stride() * kSegment + (rest < kSegment ? rest : kSegment);
  }

  // Column number i of those of a row.
  PHEW_HOST_DEVICE std::size_t column(std::size_t row, std::size_t i) const {
    return begin(row) + i / kSegment * stride() + i % kSegment;
  }
};

}  // namespace phew
