#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/philox.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/walks/edge_tables.hpp"

namespace {

// Makes weights in (-1, 1), of which some are zero and some are tiny.
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

// The order of a link's weights in memory.
enum class Layout : std::uint8_t { kTargetRows, kSourceRows, kNotAdjacent };

// A link of 2 groups of 300 targets, 70 sources and 3 positions. Some units are dead, and some have
// no mass.
struct Fixture {
  phew::WeightedLink link;
  phew::Graph graph;
  std::vector<float> weights = make_weights(std::size_t{2} * 300 * 70 * 3);
  phew::MassScale scale = phew::make_mass_scale(1e-12, 0.999, 1);

  explicit Fixture(Layout layout)
      : link{0, 1, 2, 300, 70, 3, {63'000, 210, 3, 1}, 0, false},
        graph{{phew::Flags(140, 1), phew::Flags(600, 1)}, {}, {0}, {1}} {
    if (layout == Layout::kSourceRows) link.strides = {63'000, 3, 900, 1};
    if (layout == Layout::kNotAdjacent) link.strides = {63'000, 70, 1, 21'000};
    for (const std::size_t dead : {0U, 3U, 4U, 139U}) graph.live[0][dead] = 0;
    for (const std::size_t dead : {0U, 1U, 299U, 300U, 599U}) graph.live[1][dead] = 0;
    // All edges of source 5 and of target 7 are zero.
    for (std::uint32_t i = 0; i < 300; ++i) clear_kernel(i, 5);
    for (std::uint32_t i = 0; i < 70; ++i) clear_kernel(7, i);
    graph.links = {link};
  }

  std::size_t element(std::uint32_t group, std::uint32_t target, std::uint32_t source) const {
    return static_cast<std::size_t>(group * link.strides[0] + target * link.strides[1] +
                                    source * link.strides[2]);
  }

  void clear_kernel(std::uint32_t target, std::uint32_t source) {
    const auto stride = static_cast<std::size_t>(link.strides[3]);
    for (std::size_t k = 0; k < 3; ++k) weights[element(0, target, source) + k * stride] = 0;
  }

  // Returns the cumulative masses of a unit's edges. Edges to dead units have none.
  std::vector<std::uint64_t> cumulative(const phew::EdgeView& edges, std::uint32_t unit) const {
    const phew::MassOf<phew::Float32, 1> mass_of{scale};
    std::vector<std::uint64_t> result;
    for (const bool equal : {false, true}) {
      std::uint64_t total = 0;
      result.clear();
      for (std::uint32_t far = 0; far < edges.far_per_group; ++far) {
        for (std::uint32_t k = 0; k < 3; ++k) {
          std::uint32_t bits = 0;
          std::memcpy(
              &bits,
              &weights[static_cast<std::size_t>(edges.first_element(unit) + far * edges.far_stride +
                                                k * edges.position_stride)],
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

// Checks draws at and around each boundary.
void check_boundaries(const phew::EdgeTable& table) {
  check_find(table, 0);
  check_find(table, table.total() - 1);
  for (std::uint32_t entry = 0; entry < table.num_entries; ++entry) {
    for (const std::uint64_t offset : {0U, 1U, 2U, 3U}) {
      const std::uint64_t draw = table.cumulative[entry] + offset - 2;
      if (draw < table.total()) check_find(table, draw);
    }
  }
}

// The tables of the only source of a link with one position. The mass of a weight is its value.
struct OneUnit {
  std::vector<float> weights;
  phew::WeightedLink link;
  phew::Graph graph;
  phew::EdgeTables tables;

  explicit OneUnit(const std::vector<float>& masses)
      : weights(masses),
        link{0, 1, 1, static_cast<std::uint32_t>(masses.size()), 1, 1, {0, 1, 1, 1}, 0, false},
        graph{{phew::Flags(1, 1), phew::Flags(masses.size(), 1)}, {link}, {0}, {1}},
        tables(phew::WeightRows(link, buffers()), edges(),
               phew::MassConverter(buffers(), 1, phew::MassScale{}),
               phew::MassConverter::equal(buffers())) {
    tables.go_to(0, 0, 1, {1, 1});
  }

  phew::LinkBuffers buffers() const { return {weights.data(), phew::DType::kFloat32, nullptr}; }
  phew::EdgeView edges() const { return phew::view_edges(graph, link, phew::Direction::kForward); }
};

// Makes lists of `size` masses, one of each kind.
std::vector<std::vector<float>> make_masses(std::uint32_t size) {
  constexpr float kLargest = 0x1.FFFFFEp30F;
  std::vector<std::vector<float>> all(7, std::vector<float>(size));
  for (std::uint32_t i = 0; i < size; ++i) {
    const phew::PhiloxCounter random = phew::philox4x32({{i, 2, 0, 0}}, {{size, 0}});
    const bool is_rare = random.words[1] % 16 == 0;
    // Small masses, huge masses, a few huge among small ones, a few small among huge ones.
    all[0][i] = static_cast<float>(random.words[0] % 4);
    all[1][i] = static_cast<float>(random.words[0] >> 1 & 0x7FFF'FF80U);
    all[2][i] = is_rare ? kLargest : 1;
    all[3][i] = is_rare ? 1 : kLargest;
    // One mass behind zeros, one before zeros. The last list has zeros alone.
    all[4][i] = i + 1 == size ? 5 : 0;
    all[5][i] = i == 0 ? kLargest : 0;
  }
  return all;
}

}  // namespace

TEST_CASE("tables hold the cumulative masses of a unit's edges, in every resolution") {
  for (const Layout layout : {Layout::kTargetRows, Layout::kSourceRows, Layout::kNotAdjacent}) {
    const Fixture fixture(layout);
    const phew::LinkBuffers buffers{fixture.weights.data(), phew::DType::kFloat32, nullptr};
    const phew::WeightRows rows(fixture.link, buffers);
    for (const auto direction : {phew::Direction::kForward, phew::Direction::kBackward}) {
      const phew::EdgeView edges = phew::view_edges(fixture.graph, fixture.link, direction);
      phew::EdgeTables tables(rows, edges, phew::MassConverter(buffers, 1, fixture.scale),
                              phew::MassConverter::equal(buffers));
      std::vector<phew::Resolution> resolutions{{7, 3}, {64, 3}, {1000, 3}};
      for (std::size_t num_walkers = 0; num_walkers < 1000; ++num_walkers) {
        resolutions.push_back(phew::choose_resolution(edges, tables.near_is_row(), num_walkers));
        const auto& last = resolutions[resolutions.size() - 2];
        if (last.num_edges() == resolutions.back().num_edges()) resolutions.pop_back();
      }
      REQUIRE(resolutions.back().num_edges() == 1);
      for (const phew::Resolution resolution : resolutions) {
        for (std::uint32_t group = 0; group < 2; ++group) {
          constexpr std::uint32_t kFirst = 4;
          constexpr std::uint32_t kNumUnits = 16;
          tables.go_to(group, kFirst, kNumUnits, resolution);
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
  const Fixture fixture(Layout::kTargetRows);
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

TEST_CASE("a guide leads every draw to the first entry above it") {
  for (const std::uint32_t size :
       {1U, 2U, 3U, 4U, 5U, 7U, 8U, 9U, 63U, 64U, 1000U, 4096U, 20'000U, 65'535U}) {
    for (const auto& masses : make_masses(size)) {
      OneUnit unit(masses);
      const phew::EdgeTable table = unit.tables.table(0, size);
      REQUIRE(table.guide != nullptr);
      check_boundaries(table);
      if (table.total() > 10'000) continue;
      for (std::uint64_t draw = 0; draw < table.total(); ++draw) check_find(table, draw);
    }
  }
}

TEST_CASE("a unit of few walkers, or of more entries than a guide can tell, has no guide") {
  OneUnit small(make_masses(1000)[1]);
  CHECK(small.tables.table(0, 1).guide == nullptr);
  CHECK(small.tables.table(0, 1000).guide != nullptr);
  OneUnit large(make_masses(65'536)[1]);
  CHECK(large.tables.table(0, 1'000'000).guide == nullptr);
}

TEST_CASE("guides may tell of every table that is chosen for many walkers") {
  phew::EdgeView edges{};
  for (const std::uint32_t num_far : {1U, 1000U, 65'535U, 65'536U, 1'000'000U, 300'000'000U}) {
    for (const std::uint32_t num_positions : {1U, 9U, 200U}) {
      if (std::uint64_t{num_far} * num_positions >= std::uint64_t{1} << 31) continue;
      edges.far_per_group = num_far;
      edges.num_positions = num_positions;
      for (const std::size_t num_walkers : {0U, 1U, 100U, 1U << 21}) {
        for (const bool near_is_row : {false, true}) {
          const auto [far, positions] = phew::choose_resolution(edges, near_is_row, num_walkers);
          const std::size_t num_entries =
              std::size_t{(num_far + far - 1) / far} * (num_positions / positions);
          REQUIRE(num_entries > 0);
          REQUIRE(num_entries <= 65'535);
        }
      }
    }
  }
}

TEST_CASE("long kernels are searched edge by edge, and few units of very many edges at a time") {
  phew::EdgeView edges{};
  edges.num_groups = 1;
  edges.near_per_group = 1000;
  edges.far_per_group = 2;
  for (const std::uint32_t num_positions : {300U, 65'535U, 65'536U, 1'000'000U}) {
    edges.num_positions = num_positions;
    for (const bool near_is_row : {false, true}) {
      for (const std::size_t num_walkers : {1U, 1000U, 1U << 21}) {
        CHECK(phew::choose_resolution(edges, near_is_row, num_walkers).num_edges() == 1);
      }
      const std::size_t num_units = phew::num_units_per_block(edges, near_is_row, 2);
      CHECK(num_units >= 1);
      // 32 MiB of tables.
      CHECK(num_units * edges.num_edges() <= 1U << 22);
    }
  }
}

TEST_CASE("adjacent units are torn apart only where they are rows") {
  for (const std::uint32_t num_positions : {1U, 3U, 9U, 100U}) {
    for (const std::uint32_t num_near : {1U, 17U, 500U, 100'000U}) {
      phew::EdgeView edges{};
      edges.num_groups = 1;
      edges.near_per_group = num_near;
      edges.num_positions = num_positions;
      for (const unsigned num_threads : {1U, 2U, 64U}) {
        const auto rows = phew::num_units_per_block(edges, true, num_threads);
        CHECK(rows >= 1);
        CHECK(rows <= phew::kMostUnitsPerBlock);
        const auto columns = phew::num_units_per_block(edges, false, num_threads);
        CHECK(columns >= 16);
        CHECK(columns <= phew::kMostUnitsPerBlock);
      }
    }
  }
}
