#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/loops/loops.hpp"

namespace {

template <typename Number>
void check_transpose(phew::TransposeFunction transpose) {
  // These lie around the numbers of elements that registers of any instruction set hold.
  constexpr std::size_t kSizes[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65};
  for (const std::size_t num_rows : kSizes) {
    for (const std::size_t num_columns : kSizes) {
      const std::size_t from_stride = num_columns + 3;
      const std::size_t to_stride = num_rows + 1;
      std::vector<Number> from(num_rows * from_stride);
      for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<Number>(i + 1);
      std::vector<Number> expected(num_columns * to_stride);
      for (std::size_t i = 0; i < num_rows; ++i) {
        for (std::size_t k = 0; k < num_columns; ++k) {
          expected[k * to_stride + i] = from[i * from_stride + k];
        }
      }
      std::vector<Number> to(expected.size());
      transpose(from.data(), from_stride, num_rows, num_columns, to.data(), to_stride);
      REQUIRE(to == expected);
    }
  }
}

}  // namespace

TEST_CASE("matrices of any size are transposed, of numbers of any size") {
  for (const phew::Loops* loops : phew::supported_loops()) {
    check_transpose<std::uint16_t>(loops->transpose[0]);
    check_transpose<std::uint32_t>(loops->transpose[1]);
    check_transpose<std::uint64_t>(loops->transpose[2]);
  }
}
