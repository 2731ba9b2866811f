// Walks do not depend on how weights are stored: where in memory they lie, and as which type.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>
#include <variant>
#include <vector>

#include "common/walk_graphs.hpp"
#include "phew/walk_engine.hpp"

namespace {

// A link in another layout, and the new index of each element of its parameter.
struct Moved {
  phew::WeightedLink link;
  std::vector<std::size_t> element_of;
};

// Moves positions outermost and apart, so that neither sources nor targets are adjacent. Or else
// swaps the order of sources and targets.
Moved move_elements(const phew::WeightedLink& link, std::size_t size, bool apart) {
  const std::int64_t num_targets = link.targets_per_group;
  const std::int64_t num_sources = link.sources_per_group;
  const std::int64_t num_positions = link.num_positions;
  const std::int64_t per_group = num_targets * num_sources;
  phew::WeightedLink moved = link;
  moved.offset = 0;
  if (apart) {
    // Only every second element is used.
    moved.strides = {2 * per_group, 2, 2 * num_targets, 2 * per_group * link.num_groups};
  } else if (link.strides[1] > link.strides[2]) {
    moved.strides = {per_group * num_positions, num_positions, num_targets * num_positions, 1};
  } else {
    moved.strides = {per_group * num_positions, num_sources * num_positions, num_positions, 1};
  }
  std::vector<std::size_t> element_of(size);
  for (std::int64_t group = 0; group < link.num_groups; ++group) {
    for (std::int64_t i = 0; i < per_group * num_positions; ++i) {
      const std::int64_t at[] = {group, i / (num_sources * num_positions),
                                 i / num_positions % num_sources, i % num_positions};
      std::int64_t from = link.offset;
      std::int64_t to = 0;
      for (std::size_t axis = 0; axis < 4; ++axis) {
        from += at[axis] * link.strides[axis];
        to += at[axis] * moved.strides[axis];
      }
      element_of[static_cast<std::size_t>(from)] = static_cast<std::size_t>(to);
    }
  }
  return {moved, element_of};
}

// Returns the weights as another type with the same values.
template <typename Element, typename Convert>
std::vector<std::vector<Element>> convert_weights(const Weights& weights, const Convert& convert) {
  std::vector<std::vector<Element>> converted;
  for (const auto& link : weights) {
    std::vector<Element>& to = converted.emplace_back();
    std::transform(link.begin(), link.end(), std::back_inserter(to), convert);
  }
  return converted;
}

template <typename Element>
std::vector<Visit> walk_as(phew::DType dtype, const std::vector<std::vector<Element>>& weights,
                           std::uint64_t num_walks) {
  Parameters parameters = make_wide_parameters();
  const phew::Load load = [&](std::uint32_t link) {
    return phew::LinkBuffers{weights[link].data(), dtype, parameters.marks[link].data(),
                             link * kNumbersPerLink};
  };
  phew::WalkEngine engine(make_wide_graph(), {});
  engine.measure(load, 2);
  return sort_visits(engine.walk({0, num_walks, 0}, phew::Recording::kMark, load, 2, 1 << 21));
}

}  // namespace

TEST_CASE("walks do not depend on where in memory the weights lie") {
  for (const bool is_wide : {false, true}) {
    const phew::Graph graph = is_wide ? make_wide_graph() : make_graph();
    for (const bool apart : {false, true}) {
      Parameters parameters = is_wide ? make_wide_parameters() : make_parameters();
      phew::WalkEngine engine(graph, {});
      engine.measure(parameters.loader(phew::Recording::kMark), 2);
      phew::Graph moved_graph = graph;
      Parameters moved_parameters = parameters;
      std::vector<std::vector<std::size_t>> element_of(graph.links.size());
      for (std::size_t i = 0; i < graph.links.size(); ++i) {
        const auto* link = std::get_if<phew::WeightedLink>(&graph.links[i]);
        if (link == nullptr) continue;
        const auto& weights = parameters.weights[i];
        auto [moved_link, elements] = move_elements(*link, weights.size(), apart);
        moved_graph.links[i] = moved_link;
        moved_parameters.weights[i].assign(2 * weights.size(), 7);
        moved_parameters.marks[i].assign(2 * weights.size(), 0);
        const auto first = static_cast<std::size_t>(link->offset);
        for (std::size_t j = first; j < weights.size(); ++j) {
          moved_parameters.weights[i][elements[j]] = weights[j];
        }
        element_of[i] = std::move(elements);
      }
      phew::WalkEngine moved_engine(moved_graph, {});
      moved_engine.measure(moved_parameters.loader(phew::Recording::kMark), 2);
      for (const std::uint64_t num_walks : {200U, 5000U, 50'000U}) {
        auto expected = find_new(engine, parameters, {0, num_walks}, 2, 1 << 21);
        for (auto& [walk, link, element] : expected) element = element_of[link][element];
        std::sort(expected.begin(), expected.end());
        CHECK(find_new(moved_engine, moved_parameters, {0, num_walks}, 2, 1 << 21) == expected);
      }
    }
  }
}

TEST_CASE("walks do not depend on the type that the weights are stored as") {
  // All types hold these values without rounding, because they are whole numbers below 2^8.
  Weights weights = make_wide_parameters().weights;
  for (auto& link : weights) {
    for (float& weight : link) {
      weight = std::trunc(std::clamp(weight, -1.9F, 1.9F) * 100);
    }
  }
  const auto doubles = convert_weights<double>(weights, [](float weight) { return weight; });
  const auto bfloats = convert_weights<std::uint16_t>(weights, [](float weight) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &weight, sizeof bits);
    return static_cast<std::uint16_t>(bits >> 16);
  });
  const auto halves = convert_weights<std::uint16_t>(weights, [](float weight) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &weight, sizeof bits);
    const std::uint32_t sign = bits >> 31 << 15;
    const std::uint32_t magnitude = weight == 0 ? 0 : (bits << 1 >> 14) - ((127 - 15) << 10);
    return static_cast<std::uint16_t>(sign | magnitude);
  });
  for (const std::uint64_t num_walks : {200U, 20'000U}) {
    const auto expected = walk_as(phew::DType::kFloat32, weights, num_walks);
    CHECK(walk_as(phew::DType::kFloat64, doubles, num_walks) == expected);
    CHECK(walk_as(phew::DType::kFloat16, halves, num_walks) == expected);
    CHECK(walk_as(phew::DType::kBFloat16, bfloats, num_walks) == expected);
  }
}
