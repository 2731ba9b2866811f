#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "phew/directed_graph.hpp"
#include "phew/edge_tables.hpp"
#include "phew/hop.hpp"
#include "phew/philox.hpp"

namespace {

// In (-1, 1), some zero and some tiny.
std::vector<float> make_weights(std::size_t n) {
  std::vector<float> weights(n);
  for (std::size_t i = 0; i < n; ++i) {
    const phew::PhiloxCounter words =
        phew::philox4x32({{static_cast<std::uint32_t>(i), 1, 0, 0}}, {{3, 0}});
    weights[i] = static_cast<float>(words.words[0]) * 0x1p-31F - 1;
    if (words.words[1] % 8 == 0) weights[i] = 0;
    if (words.words[1] % 8 == 1) weights[i] *= 1e-8F;
  }
  return weights;
}

// 2 groups of 300 targets, 70 sources and 3 positions, some units dead, some without a mass.
struct Fixture {
  phew::WeightedLink link;
  phew::Graph graph;
  std::vector<float> weights = make_weights(std::size_t{2} * 300 * 70 * 3);
  phew::MassScale scale = phew::make_mass_scale(1e-12, 0.999, 1);

  explicit Fixture(bool transposed)
      : link{0, 1, 2, 300, 70, 3, {63'000, 210, 3, 1}, 0, false},
        graph{{phew::Flags(140, 1), phew::Flags(600, 1)}, {}, {0}, {1}} {
    if (transposed) link.strides = {63'000, 3, 900, 1};
    for (const std::size_t dead : {0U, 3U, 4U, 139U}) graph.live[0][dead] = 0;
    for (const std::size_t dead : {0U, 1U, 299U, 300U, 599U}) graph.live[1][dead] = 0;
    // All edges of source 5 and of target 7.
    for (std::uint32_t i = 0; i < 300; ++i) clear_kernel(i, 5);
    for (std::uint32_t i = 0; i < 70; ++i) clear_kernel(7, i);
    graph.links = {link};
  }

  std::size_t element(std::uint32_t group, std::uint32_t target, std::uint32_t source) const {
    return static_cast<std::size_t>(group * link.strides[0] + target * link.strides[1] +
                                    source * link.strides[2]);
  }

  void clear_kernel(std::uint32_t target, std::uint32_t source) {
    for (std::size_t k = 0; k < 3; ++k) weights[element(0, target, source) + k] = 0;
  }

  // The cumulative masses of a unit's edges, those to dead units without any.
  std::vector<std::uint64_t> cumulative(const phew::EdgeView& edges, std::uint32_t unit) const {
    const phew::MassOf<phew::Float32, 1> mass_of{scale};
    std::vector<std::uint64_t> result;
    for (const bool equal : {false, true}) {
      std::uint64_t total = 0;
      result.clear();
      for (std::uint32_t far = 0; far < edges.far_per_group; ++far) {
        for (std::uint32_t k = 0; k < 3; ++k) {
          std::uint32_t bits = 0;
          std::memcpy(&bits,
                      &weights[static_cast<std::size_t>(edges.first_element(unit) +
                                                        far * edges.far_stride + k)],
                      sizeof bits);
          const bool is_live = edges.far_live[edges.first_far(unit) + far];
          total += is_live ? (equal ? 1 : mass_of(bits)) : 0;
          result.push_back(total);
        }
      }
      if (total > 0) break;
    }
    return result;
  }
};

void check_find(const phew::EdgeTable& table, std::uint64_t draw) {
  REQUIRE(table.find(draw) == phew::first_above(table.cumulative, table.num_entries, draw));
}

}  // namespace

TEST_CASE("tables hold the cumulative masses of a unit's edges, in every resolution") {
  for (const bool transposed : {false, true}) {
    const Fixture fixture(transposed);
    const phew::LinkBuffers buffers{fixture.weights.data(), phew::DType::kFloat32, nullptr};
    const phew::WeightRows rows(fixture.link, buffers);
    for (const auto direction : {phew::Direction::kForward, phew::Direction::kBackward}) {
      const phew::EdgeView edges = phew::view_edges(fixture.graph, fixture.link, direction);
      phew::EdgeTables tables(rows, edges, phew::MassConverter(buffers.dtype, 1, fixture.scale));
      for (const phew::Resolution resolution :
           {phew::Resolution{1, 1}, {1, 3}, {7, 3}, {64, 3}, {1000, 3}}) {
        for (std::uint32_t group = 0; group < 2; ++group) {
          constexpr std::uint32_t kFirst = 4;
          constexpr std::uint32_t kNumUnits = 16;
          tables.build(group, kFirst, kNumUnits, resolution);
          for (std::uint32_t i = 0; i < kNumUnits; ++i) {
            const auto expected =
                fixture.cumulative(edges, group * edges.near_per_group + kFirst + i);
            const phew::EdgeTable table = tables.table(i, 1'000'000);
            const std::uint32_t per_entry = resolution.num_edges();
            REQUIRE(table.num_entries == (expected.size() + per_entry - 1) / per_entry);
            for (std::uint32_t entry = 0; entry < table.num_entries; ++entry) {
              const std::size_t last =
                  std::min<std::size_t>((std::size_t{entry} + 1) * per_entry, expected.size());
              REQUIRE(table.cumulative[entry] == expected[last - 1]);
              const std::uint64_t bound = table.cumulative[entry];
              if (bound > 0) check_find(table, bound - 1);
              if (bound < table.total()) check_find(table, bound);
            }
            REQUIRE(tables.is_zero(i) == (expected.back() <= expected.size()));
          }
        }
      }
    }
  }
}

TEST_CASE("the more walkers a unit has, the finer is its table") {
  const Fixture fixture(false);
  const phew::EdgeView edges =
      phew::view_edges(fixture.graph, fixture.link, phew::Direction::kForward);
  std::uint32_t last = 1000;
  for (const std::size_t num_walkers : {1U, 10U, 30U, 100U, 10'000U}) {
    const std::uint32_t num_edges = phew::choose_resolution(edges, true, num_walkers).num_edges();
    CHECK(num_edges <= last);
    last = num_edges;
  }
  CHECK(last == 1);
}
