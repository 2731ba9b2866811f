// The hot loops of products with sparse matrices, compiled for several instruction sets like those
// of loops.hpp. Each set adds in an order of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace phew {

// The kept weights of a matrix, row by row. The loops read the values as numbers of their type.
//
// The matrix
//
//   5 0 0 6 0     values 5 6 7, columns 0 3 1, row_starts 0 2 3
//   0 7 0 0 0
struct SparseMatrix {
  const void* values;
  // Columns have 16 bits each, or 32 if wide_columns.
  const void* columns;
  const std::int64_t* row_starts;
  bool wide_columns;
};

// The numbers from first to last, without last.
struct Range {
  std::size_t first;
  std::size_t last;
};

// Some registers of adjacent numbers that a kept weight is multiplied by. The numbers of column c
// begin at offsets[c]. All begin where the one before them ends, but for the last, which begins at
// last_start: with registers of 16 numbers, 40 numbers are three registers at 0, 16 and 24. Numbers
// that two registers have in common would be added twice: only `multiply` may get such tiles.
struct Tile {
  const std::uint32_t* offsets;
  std::size_t num_registers;
  std::size_t last_start;
};

constexpr std::size_t kMaxRegistersPerTile = 8;
constexpr std::size_t kMaxVectors = 4;

// The loops for values of one type. Everything else is float, or double where values are double.
//
// `sources` has the numbers of each column (see Tile). `results` and `gradients` have those of each
// row, `stride` numbers apart, and begin with the first row of the range.
struct SparseLoops {
  // Numbers in a register.
  std::size_t num_lanes;

  // Sets the results of each row to the sum of its values times the numbers of their columns, and
  // of its bias unless `bias`, which has the type of the values, is null.
  void (*multiply)(const SparseMatrix& matrix, Range rows, const Tile& tile, const void* sources,
                   const void* bias, void* results, std::size_t stride);

  // Adds to the numbers of each column in a range the gradients of the rows, times their values.
  void (*add_transposed)(const SparseMatrix& matrix, Range rows, Range columns, const Tile& tile,
                         const void* gradients, std::size_t stride, void* sources);

  // Adds to the sum of each kept weight the gradients of its row, times the numbers of its column.
  // The sums begin with that of the first kept weight of the rows.
  void (*add_sampled)(const SparseMatrix& matrix, Range rows, const Tile& tile,
                      const void* gradients, std::size_t stride, const void* sources, void* sums);

  // Does what multiply does for a single number for each column, which has no offset.
  void (*multiply_vector)(const SparseMatrix& matrix, Range rows, const void* vector,
                          const void* bias, void* results);

  // Does the same for up to kMaxVectors vectors, `vector_stride` numbers apart, by the bits of the
  // matrix's mask, row after row. Each vector has zeros behind it up to a full register. Results of
  // a vector are `result_stride` from those of the one before. Null where the processor cannot
  // expand numbers by bits.
  void (*multiply_by_bits)(const SparseMatrix& matrix, const std::uint8_t* bits,
                           std::size_t num_columns, Range rows, std::size_t num_vectors,
                           const void* vectors, std::size_t vector_stride, const void* bias,
                           void* results, std::size_t result_stride);
};

}  // namespace phew
