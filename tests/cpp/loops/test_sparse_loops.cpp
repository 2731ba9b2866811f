#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "common/random_matrix.hpp"
#include "phew/loops/loops.hpp"

namespace {

// The type that values are added in.
template <typename Value>
using Number = std::conditional_t<std::is_same_v<Value, double>, double, float>;

template <typename Value>
const phew::SparseLoops& loops_for(const phew::Loops& loops) {
  return loops.sparse[std::is_same_v<Value, double> ? 0 : std::is_same_v<Value, float> ? 1 : 2];
}

// Checks the products of some rows with vectors, whose results lie between zeros.
template <typename Value>
void check_vectors(const RandomMatrix& matrix, Random& random) {
  const phew::Range rows{matrix.num_rows / 3, matrix.num_rows};
  const auto values = whole_numbers<Value>(random, matrix.num_kept());
  const auto bias = whole_numbers<Value>(random, matrix.num_rows);
  for (const phew::Loops* loops : phew::supported_loops()) {
    const phew::SparseLoops& sparse = loops_for<Value>(*loops);
    const std::size_t num_lanes = sparse.num_lanes;
    const std::size_t stride = (matrix.num_columns + num_lanes - 1) / num_lanes * num_lanes;
    const std::size_t result_stride = matrix.num_rows + 2;
    auto vectors = whole_numbers<Number<Value>>(random, phew::kMaxVectors * stride);
    std::vector<Number<Value>> expected(phew::kMaxVectors * result_stride);
    for (std::size_t v = 0; v < phew::kMaxVectors; ++v) {
      std::fill_n(vectors.data() + v * stride + matrix.num_columns, stride - matrix.num_columns, 0);
      for (std::size_t row = rows.first; row < rows.last; ++row) {
        double sum = to_double(bias[row]);
        auto j = static_cast<std::size_t>(matrix.row_starts[row]);
        for (std::size_t column = 0; column < matrix.num_columns; ++column) {
          if (!matrix.kept[row * matrix.num_columns + column]) continue;
          sum += to_double(values[j++]) * to_double(vectors[v * stride + column]);
        }
        expected[v * result_stride + row] = static_cast<Number<Value>>(sum);
      }
    }
    for (const bool wide : {false, true}) {
      std::vector<Number<Value>> results(expected.size());
      for (std::size_t v = 0; v < phew::kMaxVectors; ++v) {
        sparse.multiply_vector(matrix.view(values.data(), wide), rows, vectors.data() + v * stride,
                               bias.data(), results.data() + v * result_stride + rows.first);
      }
      REQUIRE(results == expected);
    }
    if (sparse.multiply_by_bits == nullptr) continue;
    for (std::size_t num = 1; num <= phew::kMaxVectors; ++num) {
      std::vector<Number<Value>> results(expected.size());
      sparse.multiply_by_bits(matrix.view(values.data(), false), matrix.bits.data(),
                              matrix.num_columns, rows, num, vectors.data(), stride, bias.data(),
                              results.data() + rows.first, result_stride);
      auto first = expected;
      std::fill(first.begin() + static_cast<std::ptrdiff_t>(num * result_stride), first.end(), 0);
      REQUIRE(results == first);
    }
  }
}

// Registers of adjacent numbers for each column; those of the last column come first. If the last
// register may overlap the one before it, it does.
struct Registers {
  std::size_t size;
  std::vector<std::uint32_t> offsets;
  phew::Tile tile;

  Registers(std::size_t num_columns, std::size_t num_lanes, std::size_t num, bool overlapping)
      : size(num * num_lanes - (overlapping && num > 1 ? 1 : 0)),
        offsets(num_columns),
        tile{offsets.data(), num, size - num_lanes} {
    for (std::size_t i = 0; i < num_columns; ++i) {
      offsets[i] = static_cast<std::uint32_t>((num_columns - 1 - i) * size);
    }
  }
};

// Calls body(row, kept weight, column) for the kept weights of some rows.
template <typename Body>
void for_each_kept(const RandomMatrix& matrix, phew::Range rows, const Body& body) {
  for (std::size_t row = rows.first; row < rows.last; ++row) {
    for (auto j = static_cast<std::size_t>(matrix.row_starts[row]);
         j < static_cast<std::size_t>(matrix.row_starts[row + 1]); ++j) {
      body(row, j, matrix.wide_columns[j]);
    }
  }
}

// Checks the products of some rows with a tile, whose results are some numbers apart.
template <typename Value>
void check_tile(const phew::SparseLoops& loops, const RandomMatrix& matrix, Random& random,
                bool wide, std::size_t num_registers) {
  using Sum = Number<Value>;
  constexpr std::size_t kGap = 3;
  const phew::Range rows{matrix.num_rows / 3, matrix.num_rows - 1};
  const auto values = whole_numbers<Value>(random, matrix.num_kept());
  const auto bias = whole_numbers<Value>(random, matrix.num_rows);
  const phew::SparseMatrix view = matrix.view(values.data(), wide);
  const auto value_of = [&](std::size_t j) { return static_cast<Sum>(to_double(values[j])); };
  {
    const Registers registers(matrix.num_columns, loops.num_lanes, num_registers, true);
    const std::size_t stride = registers.size + kGap;
    const auto sources = whole_numbers<Sum>(random, matrix.num_columns * registers.size);
    std::vector<Sum> expected((rows.last - rows.first) * stride);
    for (std::size_t row = rows.first; row < rows.last; ++row) {
      std::fill_n(expected.data() + (row - rows.first) * stride, registers.size,
                  static_cast<Sum>(to_double(bias[row])));
    }
    for_each_kept(matrix, rows, [&](std::size_t row, std::size_t j, std::size_t column) {
      for (std::size_t i = 0; i < registers.size; ++i) {
        expected[(row - rows.first) * stride + i] +=
            value_of(j) * sources[registers.offsets[column] + i];
      }
    });
    std::vector<Sum> results(expected.size());
    loops.multiply(view, rows, registers.tile, sources.data(), bias.data(), results.data(), stride);
    REQUIRE(results == expected);
  }
  const Registers registers(matrix.num_columns, loops.num_lanes, num_registers, false);
  const std::size_t stride = registers.size + kGap;
  const auto gradients = whole_numbers<Sum>(random, (rows.last - rows.first) * stride);
  // The results of these two are added to what is there.
  const auto sources = whole_numbers<Sum>(random, matrix.num_columns * registers.size);
  for (const phew::Range columns : {phew::Range{0, matrix.num_columns / 2},
                                    phew::Range{matrix.num_columns / 4, matrix.num_columns - 1},
                                    phew::Range{0, matrix.num_columns}}) {
    std::vector<Sum> expected = sources;
    for_each_kept(matrix, rows, [&](std::size_t row, std::size_t j, std::size_t column) {
      if (column < columns.first || column >= columns.last) return;
      for (std::size_t i = 0; i < registers.size; ++i) {
        expected[registers.offsets[column] + i] +=
            value_of(j) * gradients[(row - rows.first) * stride + i];
      }
    });
    std::vector<Sum> results = sources;
    loops.add_transposed(view, rows, columns, registers.tile, gradients.data(), stride,
                         results.data());
    REQUIRE(results == expected);
  }
  const auto first = static_cast<std::size_t>(matrix.row_starts[rows.first]);
  const auto last = static_cast<std::size_t>(matrix.row_starts[rows.last]);
  std::vector<Sum> expected = whole_numbers<Sum>(random, last - first);
  std::vector<Sum> results = expected;
  for_each_kept(matrix, rows, [&](std::size_t row, std::size_t j, std::size_t column) {
    for (std::size_t i = 0; i < registers.size; ++i) {
      expected[j - first] +=
          gradients[(row - rows.first) * stride + i] * sources[registers.offsets[column] + i];
    }
  });
  loops.add_sampled(view, rows, registers.tile, gradients.data(), stride, sources.data(),
                    results.data());
  REQUIRE(results == expected);
}

template <typename Value>
void check_tiles(const RandomMatrix& matrix, Random& random, bool wide) {
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (std::size_t num = 1; num <= phew::kMaxRegistersPerTile; ++num) {
      check_tile<Value>(loops_for<Value>(*loops), matrix, random, wide, num);
    }
  }
}

}  // namespace

TEST_CASE("rows are multiplied by vectors, by their columns and by their bits") {
  Random random(1);
  for (const std::size_t num_columns : {1U, 7U, 8U, 31U, 32U, 33U, 64U, 100U, 203U}) {
    for (const double density : {0.0, 0.1, 0.5, 1.0}) {
      const RandomMatrix matrix(random, 10, num_columns, density);
      check_vectors<double>(matrix, random);
      check_vectors<float>(matrix, random);
      check_vectors<phew::BFloat16Number>(matrix, random);
    }
  }
}

TEST_CASE("rows are multiplied by tiles of any number of registers") {
  Random random(2);
  for (const double density : {0.0, 0.1, 0.5, 1.0}) {
    const RandomMatrix matrix(random, 10, 23, density);
    for (const bool wide : {false, true}) {
      check_tiles<double>(matrix, random, wide);
      check_tiles<float>(matrix, random, wide);
      check_tiles<phew::BFloat16Number>(matrix, random, wide);
    }
  }
}
