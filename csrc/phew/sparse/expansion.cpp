#include "phew/sparse/expansion.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "phew/threads/shared_threads.hpp"

namespace phew {

namespace {

// Dense numbers that one task goes over: some 10 us, far longer than waking a thread up.
constexpr std::size_t kNumbersPerTask = 65'536;

// Calls body(row) in threads.
template <typename Body>
void for_each_row(std::size_t num_rows, std::size_t num_columns, unsigned num_threads,
                  const Body& body) {
  if (num_columns == 0) return;
  const std::size_t per_task = std::max<std::size_t>(kNumbersPerTask / num_columns, 1);
  for_each_task(num_threads, (num_rows + per_task - 1) / per_task, [&](std::size_t task) {
    const std::size_t last = std::min((task + 1) * per_task, num_rows);
    for (std::size_t row = task * per_task; row < last; ++row) body(row);
  });
}

// Calls body(number, column) with a number and a column of the types that the matrix has.
template <typename Body>
void with_types(const SparseMatrix& matrix, std::size_t item_size, const Body& body) {
  const auto with_number = [&](auto number) {
    if (matrix.wide_columns) {
      body(number, std::uint32_t{});
    } else {
      body(number, std::uint16_t{});
    }
  };
  switch (item_size) {
    case 2:
      return with_number(std::uint16_t{});
    case 4:
      return with_number(std::uint32_t{});
    case 8:
      return with_number(std::uint64_t{});
    default:
      throw std::invalid_argument("item_size must be 2, 4 or 8, got " + std::to_string(item_size) +
                                  ".");
  }
}

}  // namespace

void expand(const SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
            std::size_t num_columns, void* dense, unsigned num_threads) {
  with_types(matrix, item_size, [&](auto number, auto column) {
    using Number = decltype(number);
    const auto* values = static_cast<const Number*>(matrix.values);
    const auto* columns = static_cast<const decltype(column)*>(matrix.columns);
    for_each_row(num_rows, num_columns, num_threads, [&](std::size_t row) {
      Number* to = static_cast<Number*>(dense) + row * num_columns;
      std::fill_n(to, num_columns, Number{});
      for (std::int64_t j = matrix.row_starts[row]; j < matrix.row_starts[row + 1]; ++j) {
        to[columns[j]] = values[j];
      }
    });
  });
}

void gather(const SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
            std::size_t num_columns, const void* dense, void* values, unsigned num_threads) {
  with_types(matrix, item_size, [&](auto number, auto column) {
    using Number = decltype(number);
    const auto* columns = static_cast<const decltype(column)*>(matrix.columns);
    for_each_row(num_rows, num_columns, num_threads, [&](std::size_t row) {
      const Number* from = static_cast<const Number*>(dense) + row * num_columns;
      for (std::int64_t j = matrix.row_starts[row]; j < matrix.row_starts[row + 1]; ++j) {
        static_cast<Number*>(values)[j] = from[columns[j]];
      }
    });
  });
}

}  // namespace phew
