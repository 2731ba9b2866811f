// Results must be the same bits on every platform, or masks of a seed would depend on it. The tests
// compare digests with those that were recorded on x86-64.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <tuple>
#include <variant>
#include <vector>

#include "common/random_graphs.hpp"
#include "common/walk_graphs.hpp"
#include "phew/walk_engine.hpp"

namespace {

// A digest by FNV-1a of numbers of 64 bits, byte by byte.
class Digest {
 public:
  void add(std::uint64_t number) {
    constexpr std::uint64_t kPrime = 0x100'0000'01B3;
    for (int shift = 0; shift < 64; shift += 8)
      value_ = (value_ ^ (number >> shift & 0xFF)) * kPrime;
  }

  void add(const std::vector<double>& numbers) {
    for (const double number : numbers) {
      std::uint64_t bits = 0;
      std::memcpy(&bits, &number, sizeof bits);
      add(bits);
    }
  }

  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xCBF2'9CE4'8422'2325;
};

// Digests of all visits, and of the flow and the rates, with which walks are planned.
struct Digests {
  Digest visits;
  Digest expectation;

  void add(const phew::Graph& graph, const phew::Options& options, const phew::Load& load) {
    constexpr phew::WalkRange kRange{0, 3000, 0};
    constexpr double kShare = 0.01;
    phew::WalkEngine engine(graph, options);
    engine.measure(load, 2);
    for (const auto& [walk, link, element] :
         sort_visits(engine.walk(kRange, phew::Recording::kMark, load, 2, 1 << 21))) {
      visits.add(walk);
      visits.add(link);
      visits.add(element);
    }
    const phew::Flow forward = engine.flow(phew::Direction::kForward, load, 1);
    const phew::Flow backward = engine.flow(phew::Direction::kBackward, load, 1);
    for (const phew::Flow* flow : {&forward, &backward}) {
      for (const auto& units : flow->units) expectation.add(units);
      for (const auto& links : flow->links) expectation.add(links);
    }
    std::vector<std::uint32_t> links;
    for (std::uint32_t i = 0; i < graph.links.size(); ++i) {
      if (std::holds_alternative<phew::WeightedLink>(graph.links[i])) links.push_back(i);
    }
    for (const auto& histogram : engine.count_rates(links, forward, backward, kShare, load, 1)) {
      expectation.add(histogram.rates);
      expectation.add(histogram.numbers);
    }
  }
};

}  // namespace

TEST_CASE("walks, flow and rates are those that were recorded, for all options") {
  Digests digests;
  for (const phew::Options& options : all_options()) {
    Parameters parameters = make_parameters();
    digests.add(make_graph(), options, parameters.loader(phew::Recording::kMark));
    phew::Graph graph = make_graph();
    take_edges_out(graph, parameters);
    digests.add(graph, options, parameters.loader(phew::Recording::kMark));
  }
  CHECK(digests.visits.value() == 0x568A'5A49'2126'A27B);
  CHECK(digests.expectation.value() == 0xE576'0441'DC5F'4E99);
}

TEST_CASE("walks, flow and rates are those that were recorded, however wide the graph") {
  Digests digests;
  Parameters parameters = make_wide_parameters();
  digests.add(make_wide_graph(), {}, parameters.loader(phew::Recording::kMark));
  CHECK(digests.visits.value() == 0xBB1E'9BE0'E2B7'C559);
  CHECK(digests.expectation.value() == 0xCED3'5F3C'5AB7'01FC);
}

TEST_CASE("walks, flow and rates are those that were recorded, for all dtypes and layouts") {
  Digests digests;
  const std::vector<phew::Options> options = all_options();
  for (std::uint32_t seed = 0; seed < 64; ++seed) {
    RandomGraph random(seed);
    digests.add(random.graph, options[seed % options.size()],
                random.loader(phew::Recording::kMark));
  }
  CHECK(digests.visits.value() == 0x1852'4792'06AA'C054);
  CHECK(digests.expectation.value() == 0xB990'E6FF'65B6'5736);
}
