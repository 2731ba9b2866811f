#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "common/naive_walk.hpp"
#include "common/walk_graphs.hpp"
#include "phew/walk_engine.hpp"

namespace {

constexpr unsigned kNumThreads[] = {1, 2, 3, 7};
constexpr std::uint32_t kBatchSizes[] = {1000, 4099, 1 << 21};

phew::WalkEngine make_engine(const phew::Options& options, Parameters& parameters) {
  phew::WalkEngine engine(make_graph(), options);
  engine.measure(parameters.loader(phew::Recording::kMark), 2);
  return engine;
}

std::vector<Visit> find_new(const phew::WalkEngine& engine, Parameters& parameters,
                            phew::WalkRange range, unsigned num_threads, std::uint32_t batch_size) {
  range.first_listed = range.first_walk;
  return sort_visits(engine.walk(range, phew::Recording::kMark,
                                 parameters.loader(phew::Recording::kMark), num_threads,
                                 batch_size));
}

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

TEST_CASE("the engine walks as a loop over walks does") {
  const phew::WalkRange range{(std::uint64_t{1} << 32) - 301, 600};
  for (const phew::Options& options : all_options()) {
    Parameters parameters = make_parameters();
    const phew::WalkEngine engine = make_engine(options, parameters);
    const auto expected = walk_naively(make_graph(), parameters.weights, options, range);
    CHECK(find_new(engine, parameters, range, 2, 1 << 21) == expected);
    CHECK(find_new(engine, parameters, range, 2, 7) == expected);
  }
}

TEST_CASE("no walk takes an edge that is absent") {
  for (const phew::Options& options : all_options()) {
    Parameters parameters = make_parameters();
    phew::Graph graph = make_graph();
    take_edges_out(graph, parameters);
    phew::WalkEngine engine(graph, options);
    engine.measure(parameters.loader(phew::Recording::kMark), 2);
    for (const std::uint64_t num_walks : {300U, 6000U}) {
      const phew::WalkRange range{5, num_walks};
      const auto expected = walk_naively(graph, parameters.weights, options, range);
      CHECK(find_new(engine, parameters, range, 2, 1 << 20) == expected);
    }
  }
}

TEST_CASE("walks depend neither on the number of threads nor on the batch size") {
  const phew::WalkRange range{5, 40'001};
  for (const phew::Options& options : all_options()) {
    if (options.power != 1) continue;
    Parameters parameters = make_parameters();
    const phew::WalkEngine engine = make_engine(options, parameters);
    const auto expected = find_new(engine, parameters, range, 1, 1 << 21);
    for (const unsigned num_threads : kNumThreads) {
      for (const std::uint32_t batch_size : kBatchSizes) {
        CHECK(find_new(engine, parameters, range, num_threads, batch_size) == expected);
      }
    }
  }
}

TEST_CASE("walks of one direction are two apart") {
  Parameters parameters = make_parameters();
  const phew::WalkEngine engine = make_engine({}, parameters);
  for (const std::uint64_t first : {4U, 7U}) {
    phew::WalkRange range{first, 300};
    range.step = 2;
    const auto expected = walk_naively(make_graph(), parameters.weights, {}, range);
    CHECK(find_new(engine, parameters, range, 2, 1 << 21) == expected);
    CHECK(find_new(engine, parameters, range, 2, 7) == expected);
  }
}

TEST_CASE("the walks of a range are those of its parts") {
  Parameters parameters = make_parameters();
  const phew::WalkEngine engine = make_engine({}, parameters);
  const auto expected = find_new(engine, parameters, {3, 100}, 1, 1 << 21);
  std::vector<Visit> parts;
  for (const phew::WalkRange range : {phew::WalkRange{3, 1}, {4, 1}, {5, 0}, {5, 57}, {62, 41}}) {
    for (const Visit& visit : find_new(engine, parameters, range, 1, 1 << 21)) {
      parts.push_back(visit);
    }
  }
  CHECK(parts == expected);
}

TEST_CASE("what is marked is what is counted and what is new") {
  const phew::WalkRange range{0, 20'000};
  for (const phew::Options& options : all_options()) {
    if (options.power != 1) continue;
    Parameters parameters = make_parameters();
    const phew::WalkEngine engine = make_engine(options, parameters);
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> expected;
    for (const auto& [walk, link, element] : find_new(engine, parameters, range, 3, 1 << 21)) {
      ++expected[{link, element}];
    }
    for (const auto recording : {phew::Recording::kCount, phew::Recording::kMark}) {
      const phew::Visits visits =
          engine.walk(range, recording, parameters.loader(recording), 3, 1 << 21);
      CHECK(visits.walks.empty());
    }
    for (std::uint32_t link = 0; link < parameters.counts.size(); ++link) {
      for (std::size_t element = 0; element < parameters.counts[link].size(); ++element) {
        const auto found = expected.find({link, element});
        const std::uint32_t count = found == expected.end() ? 0 : found->second;
        REQUIRE(parameters.counts[link][element] == count);
        REQUIRE(parameters.marks[link][element] == (count > 0 ? 1 : 0));
      }
    }
    CHECK(find_new(engine, parameters, range, 3, 1 << 21).empty());
  }
}

TEST_CASE("the engine walks as a loop over walks does, however wide the graph") {
  const phew::Graph graph = make_wide_graph();
  for (const phew::Options& options : all_options()) {
    if (options.power % 2 == 0) continue;
    Parameters parameters = make_wide_parameters();
    phew::WalkEngine engine(graph, options);
    engine.measure(parameters.loader(phew::Recording::kMark), 2);
    constexpr phew::WalkRange kFew{0, 150};
    const auto expected = walk_naively(graph, parameters.weights, options, kFew);
    CHECK(find_new(engine, parameters, kFew, 2, 1 << 21) == expected);
    CHECK(find_new(engine, parameters, kFew, 3, 20) == expected);
    // With so many walks tables are fine, have guides, and are shared by threads.
    for (const std::uint64_t num_walks : {20'000U, 100'000U}) {
      auto all = find_new(engine, parameters, {0, num_walks}, 1, 1 << 21);
      CHECK(find_new(engine, parameters, {0, num_walks}, 3, 1 << 21) == all);
      CHECK(find_new(engine, parameters, {0, num_walks}, 7, 30'000) == all);
      all.resize(expected.size());
      CHECK(all == expected);
    }
  }
}

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

TEST_CASE("walks from a given one on are listed, and do not mark") {
  constexpr std::uint64_t kFirstListed = 1501;
  for (const unsigned num_threads : {1U, 3U}) {
    for (const std::uint32_t batch_size : {100U, 1U << 21}) {
      Parameters parameters = make_parameters();
      const phew::WalkEngine engine = make_engine({}, parameters);
      const auto expected = find_new(engine, parameters, {0, 3000}, 1, 1 << 21);
      const phew::Visits listed =
          engine.walk({0, 3000, kFirstListed}, phew::Recording::kMark,
                      parameters.loader(phew::Recording::kMark), num_threads, batch_size);
      std::vector<Visit> found;
      for (std::size_t i = 0; i < listed.walks.size(); ++i) {
        const Visit visit = visit_at(listed, i);
        const auto& [walk, link, element] = visit;
        if (!parameters.marks[link][element]) found.push_back(visit);
      }
      std::sort(found.begin(), found.end());
      std::vector<Visit> unmarked;
      std::vector<std::vector<std::uint8_t>> marks = make_parameters().marks;
      for (const auto& [walk, link, element] : expected) {
        if (walk < kFirstListed) marks[link][element] = 1;
      }
      for (const auto& [walk, link, element] : expected) {
        if (walk >= kFirstListed && !marks[link][element])
          unmarked.emplace_back(walk, link, element);
      }
      CHECK(parameters.marks == marks);
      CHECK(found == unmarked);
    }
  }
}

TEST_CASE("links without visits are walked but not recorded") {
  Parameters parameters = make_parameters();
  const phew::WalkEngine engine = make_engine({}, parameters);
  auto expected = find_new(engine, parameters, {0, 1000}, 1, 1 << 21);
  expected.erase(std::remove_if(expected.begin(), expected.end(),
                                [](const Visit& visit) { return std::get<1>(visit) == 1; }),
                 expected.end());
  const phew::Load load = parameters.loader(phew::Recording::kCount);
  engine.walk(
      {0, 1000}, phew::Recording::kCount,
      [&](std::uint32_t link) {
        phew::LinkBuffers buffers = load(link);
        if (link == 1) buffers.visits = nullptr;
        return buffers;
      },
      1, 1 << 21);
  std::size_t num_visits = 0;
  for (const auto& counts : parameters.counts) {
    for (const std::uint32_t count : counts) num_visits += count;
  }
  CHECK(num_visits == expected.size());
}

TEST_CASE("each weighted link is loaded once for each direction and batch") {
  Parameters parameters = make_parameters();
  const phew::WalkEngine engine = make_engine({}, parameters);
  std::vector<std::uint32_t> loaded;
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  const phew::Load listing = [&](std::uint32_t link) {
    loaded.push_back(link);
    return load(link);
  };
  engine.walk({0, 2000}, phew::Recording::kMark, listing, 2, 1000);
  CHECK(loaded == std::vector<std::uint32_t>{0, 2, 1, 5, 5, 1, 2, 0});
  loaded.clear();
  engine.walk({0, 2000}, phew::Recording::kMark, listing, 2, 500);
  CHECK(loaded.size() == 16);
}

TEST_CASE("an exception in load ends the walk and reaches the caller") {
  Parameters parameters = make_parameters();
  phew::WalkEngine engine = make_engine({}, parameters);
  const phew::Load fail = [](std::uint32_t) -> phew::LinkBuffers {
    throw std::runtime_error("no such link");
  };
  CHECK_THROWS_WITH_AS(engine.measure(fail, 2), "no such link", std::runtime_error);
  CHECK_THROWS_WITH_AS(engine.walk({0, 10}, phew::Recording::kMark, fail, 2, 1 << 21),
                       "no such link", std::runtime_error);
}

// Each diamond, x = x + roll(x) of a model, could double the number of buckets.
TEST_CASE("the engine walks as a loop over walks does, through 40 diamonds of wirings") {
  constexpr std::uint32_t kNumDiamonds = 40;
  constexpr std::uint32_t kNumUnits = 7;
  std::vector<std::int32_t> identity(kNumUnits);
  std::iota(identity.begin(), identity.end(), 0);
  std::vector<std::int32_t> rolled = identity;
  std::rotate(rolled.begin(), rolled.begin() + 1, rolled.end());
  phew::Graph graph{{}, {}, {0}, {kNumDiamonds + 1}};
  graph.live.assign(kNumDiamonds + 2, phew::Flags(kNumUnits, 1));
  for (std::uint32_t i = 0; i < kNumDiamonds; ++i) {
    graph.links.emplace_back(phew::WiringLink{i, i + 1, identity, identity, false});
    graph.links.emplace_back(phew::WiringLink{i, i + 1, identity, rolled, false});
  }
  graph.links.emplace_back(phew::WeightedLink{
      kNumDiamonds, kNumDiamonds + 1, 1, kNumUnits, kNumUnits, 1, {0, kNumUnits, 1, 1}, 0, false});
  std::vector<std::uint32_t> sizes(graph.links.size());
  sizes.back() = kNumUnits * kNumUnits;
  Parameters parameters(sizes);
  phew::WalkEngine engine(graph, {});
  engine.measure(parameters.loader(phew::Recording::kMark), 2);
  constexpr phew::WalkRange kRange{0, 400};
  const auto expected = walk_naively(graph, parameters.weights, {}, kRange);
  for (const unsigned num_threads : kNumThreads) {
    CHECK(find_new(engine, parameters, kRange, num_threads, 1 << 21) == expected);
  }
}

TEST_CASE("a graph without live units has no walks") {
  phew::Graph graph = make_graph();
  for (auto& live : graph.live) live.assign(live.size(), 0);
  Parameters parameters = make_parameters();
  phew::WalkEngine engine(graph, {});
  engine.measure(parameters.loader(phew::Recording::kMark), 1);
  CHECK(find_new(engine, parameters, {0, 100}, 2, 1 << 21).empty());
}
