#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>
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
