// Weights that change after they were measured, as those of a model that another thread trains do:
// whatever they become, engines stay inside their memory, and tell.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/walk_graphs.hpp"
#include "phew/cuda/walk_engine.hpp"
#include "phew/expectation/visit_rates.hpp"
#include "phew/loops/loops.hpp"
#include "phew/walk_engine.hpp"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A change of all weights, and whether each unit has another mass after it.
struct Change {
  const char* name;
  std::function<float(float)> apply;
};

const std::vector<Change>& all_changes() {
  static const std::vector<Change> changes{
      {"grow", [](float weight) { return 4 * weight; }},
      {"grow much", [](float weight) { return 1e30F * weight; }},
      {"shrink", [](float weight) { return weight / 3; }},
      {"vanish", [](float) { return 0.0F; }},
      {"appear", [](float weight) { return weight == 0 ? 1.0F : weight; }},
      {"become infinite", [](float) { return -kInfinity; }},
      {"become NaN", [](float) { return kNaN; }},
      {"become NaN in part", [](float weight) { return weight > 0.5F ? kNaN : weight; }},
  };
  return changes;
}

std::vector<std::uint32_t> weighted_links(const phew::Graph& graph) {
  std::vector<std::uint32_t> links;
  for (std::uint32_t link = 0; link < graph.links.size(); ++link) {
    if (std::holds_alternative<phew::WeightedLink>(graph.links[link])) links.push_back(link);
  }
  return links;
}

void change_all(Weights& weights, const Change& change) {
  for (auto& link : weights) std::transform(link.begin(), link.end(), link.begin(), change.apply);
}

// Uses an engine that has measured other weights. Returns whether walkers found that.
bool use_changed(const phew::Graph& graph, const phew::WalkEngine& engine, Parameters& parameters) {
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  const phew::Flow forward = engine.flow(phew::Direction::kForward, load, 2);
  const phew::Flow backward = engine.flow(phew::Direction::kBackward, load, 2);
  engine.count_rates(weighted_links(graph), forward, backward, 1, load, 2);
  bool found = false;
  for (const std::uint64_t num_walks : {40U, 3000U}) {
    try {
      engine.walk({0, num_walks, num_walks / 2}, phew::Recording::kMark, load, 2, 1 << 20);
    } catch (const phew::WeightsChanged& error) {
      const std::string message = error.what();
      CHECK(message.find(std::to_string(error.link)) != std::string::npos);
      found = true;
    }
  }
  return found;
}

// Does the same with an engine on an emulated device.
bool use_changed(const phew::Graph& graph, const phew::cuda::WalkEngine& engine,
                 Parameters& parameters) {
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  const phew::Flow forward = engine.flow(phew::Direction::kForward, load);
  const phew::Flow backward = engine.flow(phew::Direction::kBackward, load);
  engine.count_rates(weighted_links(graph), forward, backward, 1, load);
  std::uint64_t changed_link = 0;
  std::uint64_t num_visits = 0;
  engine.walk({0, 3000, 1500}, phew::Recording::kMark, load, 1 << 20,
              {nullptr, nullptr, 0, &num_visits}, &changed_link);
  CHECK(changed_link <= graph.links.size());
  return changed_link > 0;
}

// Power 0 gives every weight the same mass, so that its walks do not depend on weights.
bool must_be_found(const phew::Options& options, const Change& change) {
  const std::string name = change.name;
  if (options.power == 0) return false;
  // A zero counts as the smallest weight, which 1 is not.
  return options.power > 0 || (name != "vanish" && name != "appear");
}

}  // namespace

TEST_CASE("whatever weights become, the engine stays inside its memory and tells") {
  for (const bool is_wide : {false, true}) {
    const phew::Graph graph = is_wide ? make_wide_graph() : make_graph();
    for (const phew::Options& options : all_options()) {
      for (const Change& change : all_changes()) {
        CAPTURE(change.name);
        Parameters parameters = is_wide ? make_wide_parameters() : make_parameters();
        phew::WalkEngine engine(graph, options);
        engine.measure(parameters.loader(phew::Recording::kMark), 2);
        change_all(parameters.weights, change);
        const bool found = use_changed(graph, engine, parameters);
        if (options.power == 0) CHECK_FALSE(found);
        if (must_be_found(options, change)) CHECK(found);
      }
    }
  }
}

TEST_CASE("whatever weights become, the CUDA engine stays inside its memory and tells") {
  for (const bool is_wide : {false, true}) {
    const phew::Graph graph = is_wide ? make_wide_graph() : make_graph();
    for (const phew::Options& options : all_options()) {
      for (const Change& change : all_changes()) {
        CAPTURE(change.name);
        Parameters parameters = is_wide ? make_wide_parameters() : make_parameters();
        phew::cuda::WalkEngine engine(graph, options, {&std::malloc, &std::free, nullptr});
        engine.measure(parameters.loader(phew::Recording::kMark));
        change_all(parameters.weights, change);
        const bool found = use_changed(graph, engine, parameters);
        if (options.power == 0) CHECK_FALSE(found);
        if (must_be_found(options, change)) CHECK(found);
      }
    }
  }
}

TEST_CASE("weights that change between the two passes of a measurement harm nothing") {
  for (const Change& change : all_changes()) {
    CAPTURE(change.name);
    Parameters parameters = make_parameters();
    const phew::Load load = parameters.loader(phew::Recording::kMark);
    const Weights before = parameters.weights;
    phew::cuda::WalkEngine engine(make_graph(), {}, {&std::malloc, &std::free, nullptr});
    // The device loads all links for their ranges, and then once more for their sums.
    std::size_t num_loads = 0;
    engine.measure([&](std::uint32_t link) {
      if (num_loads++ == weighted_links(make_graph()).size())
        change_all(parameters.weights, change);
      return load(link);
    });
    use_changed(make_graph(), engine, parameters);
    parameters.weights = before;
    use_changed(make_graph(), engine, parameters);
  }
}

TEST_CASE("every weight has a mass below 2^31, also one that was not measured") {
  constexpr std::uint32_t kSizeOfSet = 3000;
  for (const auto dtype : {phew::DType::kFloat64, phew::DType::kFloat32, phew::DType::kFloat16,
                           phew::DType::kBFloat16}) {
    // All bits of a weight are drawn, so infinities and NaNs are among them.
    std::vector<std::uint64_t> weights(kSizeOfSet);
    for (std::uint32_t i = 0; i < kSizeOfSet; ++i) {
      const phew::PhiloxCounter words = phew::philox4x32({{i, 5, 0, 0}}, {{1, 2}});
      weights[i] = std::uint64_t{words.words[1]} << 32 | words.words[0];
    }
    for (const int power : {0, 1, 2, -1}) {
      for (const double largest : {0.0, 1e-300, 1e-30, 1.0, 1e30, 1e300}) {
        const phew::MassScale scale = phew::make_mass_scale(largest / 2, largest, power);
        std::vector<std::uint32_t> masses(kSizeOfSet);
        for (const phew::Loops* loops : phew::supported_loops()) {
          std::vector<std::uint32_t> found(kSizeOfSet);
          loops->masses[static_cast<int>(dtype)][power & 3](weights.data(), kSizeOfSet, scale,
                                                            found.data());
          for (const std::uint32_t mass : found) REQUIRE(mass < std::uint32_t{1} << 31);
          if (loops == phew::supported_loops().front()) masses = found;
          CHECK(found == masses);
        }
      }
    }
  }
}

TEST_CASE("every rate has a bin") {
  for (const double rate : {0.0, -0.0, 1e-320, 1e-30, 0.5, 1.0, 2.0, 1e300, -1.0, -1e-3, -1e300}) {
    CHECK(phew::bin_of_rate(rate) < phew::kNumRateBins);
  }
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  CHECK(phew::bin_of_rate(kInfinite) == phew::kNumRateBins - 1);
  CHECK(phew::bin_of_rate(-kInfinite) == 0);
  CHECK(phew::bin_of_rate(std::numeric_limits<double>::quiet_NaN()) == 0);
}
