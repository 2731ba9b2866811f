#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <variant>
#include <vector>

#include "common/naive_walk.hpp"
#include "common/walk_graphs.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/walk_engine.hpp"

namespace {

constexpr phew::Direction kDirections[] = {phew::Direction::kForward, phew::Direction::kBackward};

// Checks probabilities that may differ by rounding.
void check_equal(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] == expected[i]) continue;
    REQUIRE(found[i] == doctest::Approx(expected[i]).epsilon(1e-12).scale(0));
  }
}

void check_equal(const phew::Flow& found, const phew::Flow& expected) {
  REQUIRE(found.units.size() == expected.units.size());
  for (std::size_t space = 0; space < found.units.size(); ++space) {
    check_equal(found.units[space], expected.units[space]);
  }
  REQUIRE(found.links.size() == expected.links.size());
  for (std::size_t link = 0; link < found.links.size(); ++link) {
    check_equal(found.links[link], expected.links[link]);
  }
}

void check_flow(const phew::Graph& graph, Parameters& parameters, const phew::Options& options) {
  phew::WalkEngine engine(graph, options);
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  engine.measure(load, 2);
  for (const phew::Direction direction : kDirections) {
    const phew::Flow expected = flow_naively(graph, parameters.weights, options, direction);
    for (const unsigned num_threads : {1U, 3U}) {
      check_equal(engine.flow(direction, load, num_threads), expected);
    }
  }
}

struct Flows {
  phew::Flow forward;
  phew::Flow backward;
};

Flows compute_flows(const phew::WalkEngine& engine, const phew::Load& load) {
  return {engine.flow(phew::Direction::kForward, load, 2),
          engine.flow(phew::Direction::kBackward, load, 2)};
}

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double num_visits_of(const phew::RateHistogram& histogram) {
  return std::inner_product(histogram.rates.begin(), histogram.rates.end(),
                            histogram.numbers.begin(), 0.0);
}

// Checks that bins in ascending order hold the nonzero rates, from the smallest to the largest.
void check_rates(const phew::RateHistogram& found, std::vector<double> rates) {
  rates.erase(std::remove(rates.begin(), rates.end(), 0.0), rates.end());
  std::sort(rates.begin(), rates.end());
  REQUIRE(std::is_sorted(found.rates.begin(), found.rates.end()));
  REQUIRE(sum_of(found.numbers) == static_cast<double>(rates.size()));
  auto begin = rates.begin();
  for (std::size_t bin = 0; bin < found.rates.size(); ++bin) {
    const auto end = begin + static_cast<std::ptrdiff_t>(found.numbers[bin]);
    REQUIRE(end > begin);
    REQUIRE(*(end - 1) / *begin < 1.0626);
    const double mean = std::accumulate(begin, end, 0.0) / found.numbers[bin];
    REQUIRE(found.rates[bin] == doctest::Approx(mean).epsilon(1e-9).scale(0));
    begin = end;
  }
}

void check_rates(const phew::Graph& graph, Parameters parameters, const phew::Options& options) {
  phew::WalkEngine engine(graph, options);
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  engine.measure(load, 2);
  const auto [forward, backward] = compute_flows(engine, load);
  const auto expected = visit_rates_naively(graph, parameters.weights, options);
  for (std::uint32_t link = 0; link < graph.links.size(); ++link) {
    if (!std::holds_alternative<phew::WeightedLink>(graph.links[link])) continue;
    for (const unsigned num_threads : {1U, 3U}) {
      check_rates(engine.count_rates({link}, forward, backward, 1, load, num_threads).front(),
                  expected[link]);
    }
  }
}

}  // namespace

TEST_CASE("the flow is what units hand on edge by edge, for all powers and fork rules") {
  for (const phew::Options& options : all_options()) {
    if (options.granularity == phew::Granularity::kKernel) continue;
    Parameters parameters = make_parameters();
    check_flow(make_graph(), parameters, options);
  }
}

TEST_CASE("the flow is what units hand on edge by edge, however wide the graph") {
  Parameters parameters = make_wide_parameters();
  check_flow(make_wide_graph(), parameters, {});
}

TEST_CASE("rates are the visits that walks of both directions are expected to make") {
  for (const phew::Options& options : all_options()) {
    check_rates(make_graph(), make_parameters(), options);
  }
}

TEST_CASE("no flow passes edges that are absent, and they have no rate") {
  for (const phew::Options& options : all_options()) {
    Parameters parameters = make_parameters();
    phew::Graph graph = make_graph();
    take_edges_out(graph, parameters);
    if (options.granularity == phew::Granularity::kWeight) check_flow(graph, parameters, options);
    check_rates(graph, parameters, options);
  }
}

TEST_CASE("kernels have rates of their own, also those of units without a mass") {
  phew::Options options;
  options.granularity = phew::Granularity::kKernel;
  check_rates(make_wide_graph(), make_wide_parameters(), options);
}

TEST_CASE("a share of the weights stands for all where they are alike") {
  constexpr std::uint32_t kNumHidden = 6450;
  const phew::Graph graph{
      {{1, 1, 1}, phew::Flags(kNumHidden, 1), {1, 1}},
      {phew::WeightedLink{0, 1, 1, kNumHidden, 3, 4, {0, 12, 4, 1}, 0, false},
       phew::WeightedLink{1, 2, 1, 2, kNumHidden, 1, {0, kNumHidden, 1, 1}, 0, false}},
      {0},
      {2}};
  Parameters parameters({kNumHidden * 12, kNumHidden * 2});
  phew::Options options;
  options.power = 0;
  phew::WalkEngine engine(graph, options);
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  engine.measure(load, 2);
  const auto [forward, backward] = compute_flows(engine, load);
  for (const double share : {0.001, 0.1, 0.4, 1.0}) {
    const phew::RateHistogram found =
        engine.count_rates({0}, forward, backward, share, load, 3).front();
    CHECK(sum_of(found.numbers) == doctest::Approx(kNumHidden * 12));
    // Each walk visits one weight of the link.
    CHECK(num_visits_of(found) == doctest::Approx(1));
  }
}

TEST_CASE("whichever weights are looked at, rates add up to the visits of a walk") {
  const phew::Graph graph = make_wide_graph();
  Parameters parameters = make_wide_parameters();
  phew::WalkEngine engine(graph, {});
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  engine.measure(load, 2);
  const auto [forward, backward] = compute_flows(engine, load);
  for (const std::uint32_t link : {1U, 5U}) {
    const double expected = (sum_of(forward.links[link]) + sum_of(backward.links[link])) / 2;
    for (const double share : {0.01, 0.3}) {
      const phew::RateHistogram found =
          engine.count_rates({link}, forward, backward, share, load, 2).front();
      CHECK(num_visits_of(found) == doctest::Approx(expected).epsilon(1e-9));
    }
  }
}

TEST_CASE("a weight that many walks visit is no measure of the others") {
  constexpr std::uint32_t kNumUnits = 300;
  const phew::Graph graph{
      {phew::Flags(kNumUnits, 1), phew::Flags(kNumUnits, 1)},
      {phew::WeightedLink{0, 1, 1, kNumUnits, kNumUnits, 1, {0, kNumUnits, 1, 1}, 0, false}},
      {0},
      {1}};
  Parameters parameters({kNumUnits * kNumUnits});
  std::vector<float>& weights = parameters.weights.front();
  std::fill(weights.begin(), weights.end(), 1.0F);
  weights.front() = 1e6F;
  phew::WalkEngine engine(graph, {});
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  engine.measure(load, 2);
  const auto [forward, backward] = compute_flows(engine, load);
  const phew::RateHistogram found =
      engine.count_rates({0}, forward, backward, 0.01, load, 2).front();
  const auto most = std::max_element(found.numbers.begin(), found.numbers.end());
  CHECK(*most == doctest::Approx(kNumUnits * kNumUnits).epsilon(0.02));
  CHECK(found.rates[static_cast<std::size_t>(most - found.numbers.begin())] ==
        doctest::Approx(1.0 / (kNumUnits * kNumUnits)).epsilon(0.02));
}
