#include <doctest/doctest.h>

#include <cstddef>
#include <vector>

#include "phew/weights/column_sample.hpp"

TEST_CASE("a sample has the segments whose number and row add up to a multiple") {
  for (const std::size_t every : {1U, 2U, 3U, 40U}) {
    const phew::ColumnSample sample{every};
    for (const std::size_t num_columns : {0U, 1U, 16U, 47U, 48U, 700U}) {
      for (std::size_t row = 0; row < 90; ++row) {
        std::vector<std::size_t> expected;
        for (std::size_t column = 0; column < num_columns; ++column) {
          const std::size_t segment = column / phew::ColumnSample::kSegment;
          if ((row + segment) % every == 0) expected.push_back(column);
        }
        REQUIRE(sample.num_columns(row, num_columns) == expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          REQUIRE(sample.column(row, i) == expected[i]);
        }
      }
    }
  }
}
