// From kept weights to the dense weight, and back.
#pragma once

#include <cstddef>

#include "phew/loops/sparse_loops.hpp"

namespace phew {

// Writes the dense matrix, with zeros where nothing is kept. Numbers have 2, 4 or 8 bytes.
void expand(const SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
            std::size_t num_columns, void* dense, unsigned num_threads);

// Writes the values of the matrix, which it does not read, from those of a dense one.
void gather(const SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
            std::size_t num_columns, const void* dense, void* values, unsigned num_threads);

}  // namespace phew
