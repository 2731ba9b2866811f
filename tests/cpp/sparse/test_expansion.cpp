#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "common/random_matrix.hpp"
#include "phew/sparse/expansion.hpp"

namespace {

template <typename Number>
void check_expansion(const RandomMatrix& matrix, bool wide) {
  std::vector<Number> values(matrix.num_kept());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<Number>(3 * i + 1);
  std::vector<Number> expected(matrix.kept.size());
  std::size_t j = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (matrix.kept[i]) expected[i] = values[j++];
  }
  for (const unsigned num_threads : {1U, 2U, 7U}) {
    // The last number lies behind those that are written.
    constexpr Number kUntouched = 77;
    std::vector<Number> dense(expected.size() + 1, kUntouched);
    phew::expand(matrix.view(values.data(), wide), sizeof(Number), matrix.num_rows,
                 matrix.num_columns, dense.data(), num_threads);
    CHECK(dense.back() == kUntouched);
    dense.pop_back();
    CHECK(dense == expected);

    // Numbers that are not kept are left alone, whatever they are.
    for (std::size_t i = 0; i < dense.size(); ++i) {
      if (!matrix.kept[i]) dense[i] = kUntouched;
    }
    std::vector<Number> gathered(values.size() + 1, kUntouched);
    phew::gather(matrix.view(nullptr, wide), sizeof(Number), matrix.num_rows, matrix.num_columns,
                 dense.data(), gathered.data(), num_threads);
    CHECK(gathered.back() == kUntouched);
    gathered.pop_back();
    CHECK(gathered == values);
  }
}

}  // namespace

TEST_CASE("matrices are expanded, and their values are gathered") {
  constexpr std::size_t kSizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {7, 13}, {0, 5}, {5, 0}};
  Random random(1);
  for (const auto& [num_rows, num_columns] : kSizes) {
    for (const double density : {0.0, 0.3, 1.0}) {
      const RandomMatrix matrix(random, num_rows, num_columns, density);
      for (const bool wide : {false, true}) {
        check_expansion<std::uint16_t>(matrix, wide);
        check_expansion<std::uint32_t>(matrix, wide);
        check_expansion<std::uint64_t>(matrix, wide);
      }
    }
  }
}

TEST_CASE("matrices that take several tasks are expanded, and their values are gathered") {
  Random random(2);
  check_expansion<std::uint32_t>(RandomMatrix(random, 700, 300, 0.1), false);
  check_expansion<std::uint16_t>(RandomMatrix(random, 5, 70'000, 0.1), true);
}

TEST_CASE("expansion refuses numbers of other sizes") {
  Random random(3);
  const RandomMatrix matrix(random, 2, 3, 1);
  std::vector<std::uint64_t> numbers(12);
  for (const std::size_t item_size : {0U, 1U, 3U, 16U}) {
    CHECK_THROWS_AS(
        phew::expand(matrix.view(numbers.data(), false), item_size, 2, 3, numbers.data(), 1),
        std::invalid_argument);
    CHECK_THROWS_AS(phew::gather(matrix.view(nullptr, false), item_size, 2, 3, numbers.data(),
                                 numbers.data(), 1),
                    std::invalid_argument);
  }
}
