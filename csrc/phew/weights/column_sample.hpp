// A sample of a link's weights, which stands for all of them in a forecast.
#pragma once

#include <cstddef>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// The sample consists of short segments of adjacent columns: of each row those segments whose
// number plus the row's number is a multiple of `every`. So each row and each column has its part.
// That matters because visits differ most between units.
//
//   If every is 2: columns 0-15 and 32-47 of row 0, columns 16-31 and 48-63 of row 1.
struct ColumnSample {
  static constexpr std::size_t kSegment = 16;

  std::size_t every = 1;

  // The segments of a row begin at the columns begin, begin + stride, ...
  PHEW_HOST_DEVICE std::size_t begin(std::size_t row) const {
    return (every - row % every) % every * kSegment;
  }
  PHEW_HOST_DEVICE std::size_t stride() const { return every * kSegment; }

  // The number of columns of a row, with row_size columns in all, that are in the sample.
  PHEW_HOST_DEVICE std::size_t num_columns(std::size_t row, std::size_t row_size) const {
    const std::size_t first = begin(row);
    if (first >= row_size) return 0;
    const std::size_t rest = (row_size - first) % stride();
    return (row_size - first) / stride() * kSegment + (rest < kSegment ? rest : kSegment);
  }

  // Column number i of a row's part of the sample.
  PHEW_HOST_DEVICE std::size_t column(std::size_t row, std::size_t i) const {
    return begin(row) + i / kSegment * stride() + i % kSegment;
  }
};

}  // namespace phew
