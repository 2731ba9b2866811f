// Rows of a sparse matrix that threads share.
#pragma once

#include <cstddef>
#include <vector>

#include "phew/loops/sparse_loops.hpp"

namespace phew {

// Cuts the rows into up to `num` parts that take about as long, each of one row at least.
std::vector<Range> row_parts(const SparseMatrix& matrix, std::size_t num_rows, std::size_t num);

}  // namespace phew
