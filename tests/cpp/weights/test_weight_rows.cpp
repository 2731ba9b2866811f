#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace {

// Makes a parameter whose elements are their own indices.
template <typename Element>
std::vector<Element> make_indices() {
  std::vector<Element> indices(12'000);
  std::iota(indices.begin(), indices.end(), Element{0});
  return indices;
}

struct Layout {
  phew::WeightedLink link;
  bool rows_are_targets;
  bool adjacent;
};

// Rows whose weights are not adjacent have 540, 256 and 257 weights, so they are copied in parts.
const Layout layouts[] = {
    // A convolution behind other elements, and a transposed convolution.
    {{0, 1, 2, 5, 60, 9, {2700, 540, 9, 1}, 3, false}, true, true},
    {{0, 1, 2, 60, 5, 9, {2700, 9, 540, 1}, 0, false}, false, true},
    // Columns of a wider matrix, and of a transposed one.
    {{0, 1, 1, 30, 20, 1, {0, 64, 1, 1}, 7, false}, true, true},
    {{0, 1, 1, 20, 30, 1, {0, 1, 64, 1}, 7, false}, false, true},
    // One source, or one target, in each group.
    {{0, 1, 7, 5, 1, 9, {45, 9, 1000, 1}, 0, false}, true, true},
    {{0, 1, 7, 1, 5, 9, {45, 1000, 9, 1}, 0, false}, true, true},
    // Every second element.
    {{0, 1, 2, 5, 60, 9, {5400, 1080, 18, 2}, 1, false}, true, false},
    // Positions that are far apart.
    {{0, 1, 2, 3, 128, 2, {384, 128, 1, 768}, 0, false}, true, false},
    {{0, 1, 2, 257, 3, 1, {1600, 2, 520, 1}, 0, false}, false, false},
};

template <typename Element>
void check_order(phew::DType dtype) {
  const std::vector<Element> weights = make_indices<Element>();
  for (const auto& [link, rows_are_targets, adjacent] : layouts) {
    const phew::WeightRows rows(link, {weights.data(), dtype, nullptr});
    REQUIRE(rows.rows_are_targets() == rows_are_targets);
    REQUIRE(rows.num_groups() == link.num_groups);
    REQUIRE(rows.num_rows() ==
            (rows_are_targets ? link.targets_per_group : link.sources_per_group));
    REQUIRE(rows.num_columns() ==
            (rows_are_targets ? link.sources_per_group : link.targets_per_group));
    const std::int64_t row_stride = link.strides[rows_are_targets ? 1 : 2];
    const std::int64_t column_stride = link.strides[rows_are_targets ? 2 : 1];
    for (std::uint32_t group = 0; group < rows.num_groups(); ++group) {
      for (std::uint32_t row = 0; row < rows.num_rows(); ++row) {
        for (const std::uint32_t begin : {0U, rows.num_columns() / 2, rows.num_columns() - 1}) {
          std::vector<Element> expected;
          for (std::uint32_t column = begin; column < rows.num_columns(); ++column) {
            for (std::uint32_t k = 0; k < link.num_positions; ++k) {
              expected.push_back(static_cast<Element>(link.offset + group * link.strides[0] +
                                                      row * row_stride + column * column_stride +
                                                      k * link.strides[3]));
            }
          }
          std::vector<Element> found;
          bool in_place = false;
          rows.visit(group, row, begin, rows.num_columns(), [&](const void* part, std::size_t n) {
            in_place = part == &weights[expected.front()];
            found.resize(found.size() + n);
            std::memcpy(&found[found.size() - n], part, n * sizeof(Element));
          });
          REQUIRE(found == expected);
          REQUIRE(in_place == adjacent);
        }
      }
    }
  }
}

template <typename Element>
void check_columns(phew::DType dtype) {
  const std::vector<Element> weights = make_indices<Element>();
  for (const auto& [link, rows_are_targets, adjacent] : layouts) {
    const phew::WeightRows rows(link, {weights.data(), dtype, nullptr});
    const std::size_t row_size = std::size_t{rows.num_columns()} * link.num_positions;
    const std::size_t size = std::size_t{rows.num_rows()} * link.num_positions;
    for (std::uint32_t group = 0; group < rows.num_groups(); ++group) {
      for (const std::uint32_t begin : {0U, rows.num_columns() / 2, rows.num_columns() - 1}) {
        const std::uint32_t num_columns = rows.num_columns() - begin;
        const std::size_t stride = size + 5;
        std::vector<Element> expected(stride * num_columns);
        for (std::uint32_t row = 0; row < rows.num_rows(); ++row) {
          std::vector<Element> found;
          rows.visit(group, row, 0, rows.num_columns(), [&](const void* part, std::size_t n) {
            const auto* weight = static_cast<const Element*>(part);
            found.insert(found.end(), weight, weight + n);
          });
          REQUIRE(found.size() == row_size);
          for (std::uint32_t i = 0; i < num_columns; ++i) {
            for (std::uint32_t k = 0; k < link.num_positions; ++k) {
              expected[i * stride + std::size_t{row} * link.num_positions + k] =
                  found[std::size_t{begin + i} * link.num_positions + k];
            }
          }
        }
        std::vector<Element> copies(expected.size());
        rows.copy_columns(group, begin, rows.num_columns(), copies.data(), stride);
        REQUIRE(copies == expected);
      }
    }
  }
}

}  // namespace

TEST_CASE("the weights of a row are visited in the order of its columns and positions") {
  check_order<std::uint64_t>(phew::DType::kFloat64);
  check_order<std::uint32_t>(phew::DType::kFloat32);
  check_order<std::uint16_t>(phew::DType::kFloat16);
  check_order<std::uint16_t>(phew::DType::kBFloat16);
}

TEST_CASE("columns are copied in the order of the rows and positions") {
  check_columns<std::uint64_t>(phew::DType::kFloat64);
  check_columns<std::uint32_t>(phew::DType::kFloat32);
  check_columns<std::uint16_t>(phew::DType::kBFloat16);
}

TEST_CASE("masses are visited once for each kernel of a sample between live units") {
  constexpr std::uint32_t kNumTargets = 90;
  constexpr std::uint32_t kNumSources = 500;
  constexpr std::uint32_t kNumPositions = 9;
  std::vector<float> weights(std::size_t{kNumTargets} * kNumSources * kNumPositions);
  std::iota(weights.begin(), weights.end(), 1.0F);
  const phew::WeightedLink link{
      0, 1, 1, kNumTargets, kNumSources, kNumPositions, {0, 4500, 9, 1}, 0, false};
  const phew::LinkBuffers buffers{weights.data(), phew::DType::kFloat32, nullptr};
  // The mass of a weight is its value.
  const phew::MassConverter convert(buffers, 1, phew::MassScale{});
  phew::Flags sources(kNumSources, 1);
  phew::Flags targets(kNumTargets, 1);
  sources[0] = sources[227] = sources[228] = targets[8] = targets[89] = 0;
  const phew::WeightRows rows(link, buffers);
  const phew::LiveRows live(rows, sources, targets);
  CHECK_FALSE(live.all_columns);
  phew::Workers workers(3);
  for (const std::size_t every : {1U, 4U}) {
    std::vector<std::uint32_t> masses(weights.size());
    std::vector<std::uint32_t> num_visits(std::size_t{kNumTargets} * kNumSources);
    phew::for_each_mass(workers, rows, live, convert, {every},
                        [&](unsigned, std::size_t row, std::size_t column, std::size_t num_columns,
                            const std::uint32_t* part) {
                          const std::size_t first = row * kNumSources + column;
                          for (std::size_t i = 0; i < num_columns; ++i) ++num_visits[first + i];
                          std::memcpy(&masses[first * kNumPositions], part,
                                      num_columns * kNumPositions * sizeof *part);
                        });
    for (std::size_t kernel = 0; kernel < num_visits.size(); ++kernel) {
      const std::size_t row = kernel / kNumSources;
      const std::size_t segment = kernel % kNumSources / phew::ColumnSample::kSegment;
      const bool is_visited = targets[row] && (row + segment) % every == 0;
      REQUIRE(num_visits[kernel] == (is_visited ? 1 : 0));
      for (std::size_t i = kernel * kNumPositions; i < (kernel + 1) * kNumPositions; ++i) {
        REQUIRE(masses[i] == (is_visited && sources[kernel % kNumSources] ? i + 1 : 0));
      }
    }
  }
}
