#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "naive_walk.hpp"
#include "phew/philox.hpp"
#include "phew/walk_engine.hpp"

namespace {

constexpr unsigned kNumThreads[] = {1, 2, 3, 7};
constexpr std::uint32_t kBatchSizes[] = {1000, 4099, 1 << 21};

std::vector<std::int32_t> groups_of(std::uint32_t num_units, std::uint32_t units_per_group) {
  std::vector<std::int32_t> groups(num_units);
  for (std::uint32_t unit = 0; unit < num_units; ++unit) {
    groups[unit] = static_cast<std::int32_t>(unit / units_per_group);
  }
  return groups;
}

// A block with a projection beside it and a shortcut that only some units need, and a flatten. Each
// space has more units than a block of walkers has, and some are dead.
//
//   0 --link 0: 2 groups--> 1 --link 1: 12 groups----> 2 --link 3: flatten--> 3 --link 5--> 4
//                           1 --link 4: shortcut-----> 2
//   0 --link 2: projection---------------------------> 2
phew::Graph make_graph() {
  phew::Graph graph;
  for (const std::size_t num_units : {20U, 36U, 36U, 72U, 18U}) {
    graph.live.emplace_back(num_units, std::uint8_t{1});
  }
  graph.live[0][3] = graph.live[1][20] = graph.live[3][1] = 0;
  // All that link 1 leads to from the units 3, 4 and 5: these take the shortcut.
  graph.live[2][3] = graph.live[2][4] = graph.live[2][5] = 0;
  auto flattened = groups_of(72, 2);
  flattened[5] = flattened[70] = flattened[71] = -1;
  auto rotated = groups_of(36, 1);
  std::rotate(rotated.begin(), rotated.begin() + 18, rotated.end());
  graph.links = {
      phew::WeightedLink{0, 1, 2, 18, 10, 3, {540, 30, 3, 1}, 0, false},
      phew::WeightedLink{1, 2, 12, 3, 3, 1, {9, 3, 1, 1}, 0, false},
      phew::WeightedLink{0, 2, 1, 36, 20, 1, {0, 1, 36, 1}, 2, false},
      phew::WiringLink{2, 3, groups_of(36, 1), flattened, false},
      phew::WiringLink{1, 2, groups_of(36, 1), rotated, true},
      phew::WeightedLink{3, 4, 1, 18, 72, 1, {0, 72, 1, 1}, 0, false},
  };
  graph.entries = {0};
  graph.exits = {4};
  return graph;
}

// In [-1, 1), every eighth one zero.
float make_weight(std::uint32_t i, std::uint32_t key) {
  const phew::PhiloxCounter random = phew::philox4x32({{i, 0, 0, 0}}, {{key, 0}});
  if (random.words[1] % 8 == 0) return 0;
  return static_cast<float>(random.words[0]) * 0x1p-31F - 1;
}

// A wide graph, from three units that all walkers stand on first: 200 units of kernels and 700 far
// edges, units as rows and as columns, a fork with a wiring of several members and one that is one
// to one.
//
//   0 --link 0--> 1 --link 1: kernels of 9----> 2 --link 2: one to one--> 3 --link 4--> 4
//                                               2 --link 3: any of 50---> 3
phew::Graph make_wide_graph() {
  phew::Graph graph;
  for (const std::size_t num_units : {3U, 200U, 700U, 700U, 40U}) {
    graph.live.emplace_back(num_units, std::uint8_t{1});
  }
  graph.live[1][17] = graph.live[2][0] = graph.live[2][699] = 0;
  graph.links = {
      phew::WeightedLink{0, 1, 1, 200, 3, 1, {0, 3, 1, 1}, 0, false},
      phew::WeightedLink{1, 2, 1, 700, 200, 9, {0, 1800, 9, 1}, 0, false},
      phew::WiringLink{2, 3, groups_of(700, 1), groups_of(700, 1), false},
      phew::WiringLink{2, 3, groups_of(700, 50), groups_of(700, 50), false},
      phew::WeightedLink{3, 4, 1, 40, 700, 1, {0, 1, 40, 1}, 0, false},
  };
  graph.entries = {0};
  graph.exits = {4};
  return graph;
}

// Weights and what is recorded of their visits.
struct Parameters {
  Weights weights;
  std::vector<std::vector<std::uint8_t>> marks;
  std::vector<std::vector<std::uint32_t>> counts;

  explicit Parameters(const std::vector<std::uint32_t>& sizes) {
    for (const std::uint32_t size : sizes) {
      std::vector<float>& link = weights.emplace_back(size);
      for (std::uint32_t i = 0; i < size; ++i) link[i] = make_weight(i, size);
      marks.emplace_back(size);
      counts.emplace_back(size);
    }
  }

  Parameters() : Parameters({1080U, 108U, 722U, 0U, 0U, 1296U}) {
    // All edges of some units, in both directions.
    std::fill_n(weights[1].begin() + 18, 9, 0.0F);
  }

  phew::Load loader(phew::Recording recording) {
    return [this, recording](std::uint32_t link) {
      void* visits = recording == phew::Recording::kCount ? static_cast<void*>(counts[link].data())
                                                          : marks[link].data();
      return phew::LinkBuffers{weights[link].data(), phew::DType::kFloat32, visits};
    };
  }
};

phew::WalkEngine make_engine(const phew::Options& options, Parameters& parameters) {
  phew::WalkEngine engine(make_graph(), options);
  engine.measure(parameters.loader(phew::Recording::kMark), 2);
  return engine;
}

std::vector<Visit> find_new(const phew::WalkEngine& engine, Parameters& parameters,
                            phew::WalkRange range, unsigned num_threads, std::uint32_t batch_size) {
  range.first_listed = range.first_walk;
  const phew::Visits visits =
      engine.walk(range, phew::Recording::kMark, parameters.loader(phew::Recording::kMark),
                  num_threads, batch_size);
  std::vector<Visit> sorted;
  sorted.reserve(visits.walks.size());
  for (std::size_t i = 0; i < visits.walks.size(); ++i) {
    sorted.emplace_back(visits.walks[i], visits.links[i], visits.elements[i]);
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

std::vector<phew::Options> all_options() {
  std::vector<phew::Options> options;
  for (const int power : {1, 0, 2, -1}) {
    for (const auto fork : {phew::ForkRule::kUniform, phew::ForkRule::kMass}) {
      for (const auto granularity : {phew::Granularity::kWeight, phew::Granularity::kKernel}) {
        options.push_back({0x9E3779B97F4A7C15, fork, granularity, power});
      }
    }
  }
  return options;
}

}  // namespace

TEST_CASE("the engine walks as a loop over walks does") {
  const phew::WalkRange range{(std::uint64_t{1} << 32) - 301, 600};
  for (const phew::Options& options : all_options()) {
    if (options.fork == phew::ForkRule::kMass) continue;
    Parameters parameters;
    const phew::WalkEngine engine = make_engine(options, parameters);
    const auto expected = walk_naively(make_graph(), parameters.weights, options, range);
    CHECK(find_new(engine, parameters, range, 2, 1 << 21) == expected);
    CHECK(find_new(engine, parameters, range, 2, 7) == expected);
  }
}

TEST_CASE("walks depend neither on the number of threads nor on the batch size") {
  const phew::WalkRange range{5, 40'001};
  for (const phew::Options& options : all_options()) {
    if (options.power != 1) continue;
    Parameters parameters;
    const phew::WalkEngine engine = make_engine(options, parameters);
    const auto expected = find_new(engine, parameters, range, 1, 1 << 21);
    for (const unsigned num_threads : kNumThreads) {
      for (const std::uint32_t batch_size : kBatchSizes) {
        CHECK(find_new(engine, parameters, range, num_threads, batch_size) == expected);
      }
    }
  }
}

TEST_CASE("the walks of a range are those of its parts") {
  Parameters parameters;
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
    Parameters parameters;
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
  for (const phew::Options& options : all_options()) {
    if (options.fork == phew::ForkRule::kMass || options.power % 2 == 0) continue;
    Parameters parameters({600U, 1'260'000U, 0U, 0U, 28'000U});
    std::fill_n(parameters.weights[1].begin() + 1800, 1800, 0.0F);
    phew::WalkEngine engine(make_wide_graph(), options);
    engine.measure(parameters.loader(phew::Recording::kMark), 2);
    constexpr phew::WalkRange kFew{0, 60};
    const auto expected = walk_naively(make_wide_graph(), parameters.weights, options, kFew);
    CHECK(find_new(engine, parameters, kFew, 2, 1 << 21) == expected);
    // So many that tables are fine, are guided, and are shared by threads.
    for (const std::uint64_t num_walks : {20'000U, 200'000U}) {
      auto all = find_new(engine, parameters, {0, num_walks}, 1, 1 << 21);
      CHECK(find_new(engine, parameters, {0, num_walks}, 3, 1 << 21) == all);
      all.resize(expected.size());
      CHECK(all == expected);
    }
  }
}

TEST_CASE("walks from a given one on are listed, and do not mark") {
  constexpr std::uint64_t kFirstListed = 1501;
  for (const unsigned num_threads : {1U, 3U}) {
    for (const std::uint32_t batch_size : {100U, 1U << 21}) {
      Parameters parameters;
      const phew::WalkEngine engine = make_engine({}, parameters);
      const auto expected = find_new(engine, parameters, {0, 3000}, 1, 1 << 21);
      const phew::Visits listed =
          engine.walk({0, 3000, kFirstListed}, phew::Recording::kMark,
                      parameters.loader(phew::Recording::kMark), num_threads, batch_size);
      std::vector<Visit> found;
      for (std::size_t i = 0; i < listed.walks.size(); ++i) {
        const auto& marks = parameters.marks[listed.links[i]];
        if (marks[listed.elements[i]]) continue;
        found.emplace_back(listed.walks[i], listed.links[i], listed.elements[i]);
      }
      std::sort(found.begin(), found.end());
      std::vector<Visit> unmarked;
      std::vector<std::vector<std::uint8_t>> marks = Parameters().marks;
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
  Parameters parameters;
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
  Parameters parameters;
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
  Parameters parameters;
  phew::WalkEngine engine = make_engine({}, parameters);
  const phew::Load fail = [](std::uint32_t) -> phew::LinkBuffers {
    throw std::runtime_error("no such link");
  };
  CHECK_THROWS_WITH_AS(engine.measure(fail, 2), "no such link", std::runtime_error);
  CHECK_THROWS_WITH_AS(engine.walk({0, 10}, phew::Recording::kMark, fail, 2, 1 << 21),
                       "no such link", std::runtime_error);
}

TEST_CASE("a graph without live units has no walks") {
  phew::Graph graph = make_graph();
  for (auto& live : graph.live) live.assign(live.size(), 0);
  Parameters parameters;
  phew::WalkEngine engine(graph, {});
  engine.measure(parameters.loader(phew::Recording::kMark), 1);
  CHECK(find_new(engine, parameters, {0, 100}, 2, 1 << 21).empty());
}
