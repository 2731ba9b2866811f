#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "phew/expectation/fork_mass.hpp"

namespace {

using phew::UnitMasses;

constexpr std::uint64_t kCap = std::uint64_t{1} << 56;

phew::WeightedLink dense(std::uint32_t source, std::uint32_t target, std::uint32_t num_sources,
                         std::uint32_t num_targets) {
  return {source, target, 1, num_targets, num_sources, 1, {0, num_sources, 1, 1}, 0, false};
}

// Unit 0 has two links to the exit and a wiring to a space whose two units have a link of their
// own:
//
//   0 --link 0--> 2,  0 --link 1--> 2,  0 --link 2 (wiring)--> 1 --link 3--> 2
struct Fixture {
  phew::Graph graph{{{1}, {1, 1}, {1}},
                    {dense(0, 2, 1, 1), dense(0, 2, 1, 1),
                     phew::WiringLink{0, 1, {0}, {0, 0}, false}, dense(1, 2, 2, 1)},
                    {0},
                    {2}};
  phew::DirectedGraph forward{graph, phew::Direction::kForward};

  UnitMasses fork_of_unit_0(const std::vector<UnitMasses>& masses,
                            const std::vector<int>& exponents) {
    std::vector<phew::LinkMeasure> measures(masses.size());
    for (std::size_t i = 0; i < masses.size(); ++i) {
      measures[i].totals.sources = masses[i];
      measures[i].scale.exponent = exponents[i];
      measures[i].scale.has_mass = true;
    }
    phew::set_fork_masses(forward, phew::Direction::kForward, measures);
    return forward.spaces[0].fork->cumulative;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a wiring has the mass of the units that it leads to") {
  CHECK(fork_of_unit_0({{10}, {20}, {}, {3, 4}}, {0, 0, 0, 0}) == UnitMasses{10, 30, 37});
}

TEST_CASE_FIXTURE(Fixture, "masses are brought to the largest exponent, and are at least 1") {
  CHECK(fork_of_unit_0({{10}, {20}, {}, {3, 4}}, {0, 1, 0, 2}) == UnitMasses{2, 12, 19});
  CHECK(fork_of_unit_0({{10}, {20}, {}, {3, 4}}, {0, 100, 0, 2}) == UnitMasses{1, 21, 23});
}

TEST_CASE_FIXTURE(Fixture, "masses saturate") {
  CHECK(fork_of_unit_0({{kCap + 1}, {kCap - 1}, {}, {kCap - 2, 7}}, {0, 0, 0, 0}) ==
        UnitMasses{kCap, 2 * kCap - 1, 3 * kCap - 1});
}

TEST_CASE("backward walks fork by the masses of targets") {
  const phew::Graph graph{{{1}, {1}}, {dense(0, 1, 1, 1), dense(0, 1, 1, 1)}, {0}, {1}};
  phew::DirectedGraph backward(graph, phew::Direction::kBackward);
  std::vector<phew::LinkMeasure> measures(2);
  measures[0].totals = {{100}, {3}};
  measures[1].totals = {{100}, {5}};
  for (phew::LinkMeasure& measure : measures) measure.scale.has_mass = true;
  phew::set_fork_masses(backward, phew::Direction::kBackward, measures);
  CHECK(backward.spaces[1].fork->cumulative == UnitMasses{3, 8});
}

TEST_CASE("the masses of any number of links are exact, or too large for 64 bits") {
  for (const std::size_t num_links : {255U, 256U, 1000U}) {
    const phew::Graph graph{
        {{1}, {1}}, std::vector<phew::Link>(num_links, dense(0, 1, 1, 1)), {0}, {1}};
    phew::DirectedGraph forward(graph, phew::Direction::kForward);
    const auto set_masses = [&](std::uint64_t mass) {
      phew::LinkMeasure measure;
      measure.totals.sources = {mass};
      measure.scale.has_mass = true;
      phew::set_fork_masses(forward, phew::Direction::kForward,
                            std::vector<phew::LinkMeasure>(num_links, measure));
      return forward.spaces[0].fork->cumulative.back();
    };
    CHECK(set_masses(kCap / 8) == num_links * (kCap / 8));
    if (num_links == 255) {
      CHECK(set_masses(kCap) == 255 * kCap);
      continue;
    }
    const std::string message =
        "fork must be 'uniform' where the masses of a unit's links add up to 2^64 or more, got"
        " 'mass' and " +
        std::to_string(num_links) + " links at unit 0 of space 0.";
    CHECK_THROWS_WITH_AS(set_masses(kCap), message.c_str(), std::invalid_argument);
  }
}
