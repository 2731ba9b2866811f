// The CUDA engine on an emulated device: every body runs block by block, on the host.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "common/random_graphs.hpp"
#include "common/walk_graphs.hpp"
#include "phew/cuda/walk_engine.hpp"
#include "phew/walk_engine.hpp"

namespace {

phew::cuda::Device emulated_device() { return {&std::malloc, &std::free, nullptr}; }

// Lists the visits of a range, with room for `capacity` of them, and returns the number of all.
std::pair<std::vector<Visit>, std::uint64_t> list_visits(const phew::cuda::WalkEngine& engine,
                                                         phew::WalkRange range,
                                                         const phew::Load& load,
                                                         std::uint32_t batch_size,
                                                         std::size_t capacity) {
  phew::Visits visits{std::vector<std::uint64_t>(capacity), std::vector<std::uint64_t>(capacity)};
  std::uint64_t num_visits = 0;
  std::uint64_t changed_link = 0;
  engine.walk(range, phew::Recording::kMark, load, batch_size,
              {visits.walks.data(), visits.weights.data(), capacity, &num_visits}, &changed_link);
  CHECK(changed_link == 0);
  const std::size_t num_listed = std::min<std::uint64_t>(num_visits, capacity);
  visits.walks.resize(num_listed);
  visits.weights.resize(num_listed);
  return {sort_visits(visits), num_visits};
}

// Leaves out visits to weights that the same call marks: they are listed only if they came first.
std::vector<Visit> without_marked(std::vector<Visit> visits,
                                  const std::vector<std::vector<std::uint8_t>>& marks) {
  const auto is_marked = [&](const Visit& visit) {
    const auto& [walk, link, element] = visit;
    return marks[link][element] != 0;
  };
  visits.erase(std::remove_if(visits.begin(), visits.end(), is_marked), visits.end());
  return visits;
}

void check_close(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    REQUIRE(found[i] == doctest::Approx(expected[i]).epsilon(1e-12));
  }
}

template <typename Parameters>
void check_equal_walks(const phew::WalkEngine& host, const phew::cuda::WalkEngine& device,
                       Parameters parameters, std::uint64_t num_walks, std::uint32_t step) {
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  const phew::WalkRange range{3, num_walks, 3, step};
  const auto walks = sort_visits(host.walk(range, phew::Recording::kMark, load, 1, 1 << 20));
  for (const std::uint32_t batch_size : {1U << 20, 100U}) {
    const auto listed = list_visits(device, range, load, batch_size, walks.size() + 1);
    CHECK(listed.second == walks.size());
    CHECK(listed.first == walks);
  }
  // The first half of the walks marks, and all walks are counted.
  const phew::WalkRange half{3, num_walks, 3 + step * num_walks / 2, step};
  Parameters on_device = parameters;
  const phew::Load device_load = on_device.loader(phew::Recording::kMark);
  const auto rest = sort_visits(host.walk(half, phew::Recording::kMark, load, 1, 1 << 20));
  const auto listed = list_visits(device, half, device_load, 1 << 20, walks.size());
  host.walk(range, phew::Recording::kCount, parameters.loader(phew::Recording::kCount), 1, 1 << 20);
  std::uint64_t changed_link = 0;
  device.walk(range, phew::Recording::kCount, on_device.loader(phew::Recording::kCount), 1 << 20,
              {}, &changed_link);
  CHECK(changed_link == 0);
  CHECK(on_device.marks == parameters.marks);
  CHECK(on_device.counts == parameters.counts);
  CHECK(without_marked(listed.first, parameters.marks) == without_marked(rest, parameters.marks));
  // The number of visits is right even if there is no room for them.
  const auto [first, num_visits] = list_visits(device, half, device_load, 1 << 20, 1);
  CHECK(num_visits == without_marked(rest, parameters.marks).size());
}

// Compares all results of the two engines.
template <typename Parameters>
void check_equal_engines(const phew::Graph& graph, const phew::Options& options,
                         Parameters parameters, std::uint64_t num_walks) {
  const phew::Load load = parameters.loader(phew::Recording::kMark);
  phew::WalkEngine host(graph, options);
  phew::cuda::WalkEngine device(graph, options, emulated_device());
  const auto& expected = host.measure(load, 1);
  const auto& found = device.measure(load);
  std::vector<std::uint32_t> links;
  for (std::uint32_t link = 0; link < graph.links.size(); ++link) {
    CHECK(found[link].range.smallest == expected[link].range.smallest);
    CHECK(found[link].range.largest == expected[link].range.largest);
    CHECK(found[link].range.num_zero == expected[link].range.num_zero);
    CHECK(found[link].totals.sources == expected[link].totals.sources);
    CHECK(found[link].totals.targets == expected[link].totals.targets);
    if (std::holds_alternative<phew::WeightedLink>(graph.links[link])) links.push_back(link);
  }
  std::vector<phew::Flow> flows;
  for (const auto direction : {phew::Direction::kForward, phew::Direction::kBackward}) {
    flows.push_back(host.flow(direction, load, 1));
    const phew::Flow flow = device.flow(direction, load);
    for (std::size_t i = 0; i < flow.units.size(); ++i) {
      check_close(flow.units[i], flows.back().units[i]);
    }
    for (std::size_t i = 0; i < flow.links.size(); ++i) {
      check_close(flow.links[i], flows.back().links[i]);
    }
  }
  for (const double share : {1.0, 0.25}) {
    const auto histograms = host.count_rates(links, flows[0], flows[1], share, load, 1);
    const auto counted = device.count_rates(links, flows[0], flows[1], share, load);
    for (std::size_t i = 0; i < links.size(); ++i) {
      check_close(counted[i].rates, histograms[i].rates);
      check_close(counted[i].numbers, histograms[i].numbers);
    }
  }
  for (const std::uint32_t step : {1U, 2U}) {
    check_equal_walks(host, device, parameters, num_walks, step);
  }
}

}  // namespace

TEST_CASE("the CUDA engine does what the engine does") {
  for (const phew::Options& options : all_options()) {
    check_equal_engines(make_graph(), options, make_parameters(), 2000);
  }
}

TEST_CASE("the CUDA engine does what the engine does, where edges are absent") {
  for (const phew::Options& options : all_options()) {
    Parameters parameters = make_parameters();
    phew::Graph graph = make_graph();
    take_edges_out(graph, parameters);
    check_equal_engines(graph, options, parameters, 2000);
  }
}

TEST_CASE("the CUDA engine does what the engine does, however wide the graph") {
  for (const phew::Options& options : all_options()) {
    if (options.power % 2 == 0) continue;
    check_equal_engines(make_wide_graph(), options, make_wide_parameters(), 3000);
  }
}

TEST_CASE("the CUDA engine does what the engine does, on random graphs") {
  const std::vector<phew::Options> all = all_options();
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    CAPTURE(seed);
    const RandomGraph random(seed);
    phew::Options options = all[seed % all.size()];
    options.seed = seed;
    check_equal_engines(random.graph, options, random, 60);
  }
}

TEST_CASE("whatever fails, all memory of the device is given back, and the engine works on") {
  constexpr phew::WalkRange kRange{0, 500, 100};
  Parameters parameters = make_parameters();
  int num_held = 0;
  // After so many allocations and loads, one fails.
  int num_left = 1000;
  const auto count_down = [&] {
    if (num_left-- == 0) throw std::runtime_error("no more");
  };
  const phew::cuda::Device device{[&](std::size_t size) {
                                    count_down();
                                    ++num_held;
                                    return std::malloc(size);
                                  },
                                  [&](void* memory) {
                                    --num_held;
                                    std::free(memory);
                                  },
                                  nullptr};
  const phew::Load load = [&, all = parameters.loader(phew::Recording::kMark)](std::uint32_t link) {
    count_down();
    return all(link);
  };
  const auto use = [&](phew::cuda::WalkEngine& engine) {
    engine.measure(load);
    const phew::Flow forward = engine.flow(phew::Direction::kForward, load);
    const phew::Flow backward = engine.flow(phew::Direction::kBackward, load);
    engine.count_rates({0, 1, 2, 5}, forward, backward, 1, load);
    return list_visits(engine, kRange, load, 100, 10'000);
  };
  phew::cuda::WalkEngine engine(make_graph(), {}, device);
  use(engine);
  const int num_steps = 1000 - num_left;
  const int held_by_engine = num_held;
  for (int step = 0; step < num_steps - 1; ++step) {
    num_left = step;
    CHECK_THROWS_WITH(use(engine), "no more");
    CHECK(num_held <= held_by_engine);
  }
  num_left = 1000;
  Parameters others = make_parameters();
  phew::WalkEngine host(make_graph(), {});
  const phew::Load host_load = others.loader(phew::Recording::kMark);
  host.measure(host_load, 1);
  const auto expected = host.walk(kRange, phew::Recording::kMark, host_load, 1, 1 << 20);
  const auto listed = use(engine).first;
  CHECK(parameters.marks == others.marks);
  CHECK(without_marked(listed, others.marks) ==
        without_marked(sort_visits(expected), others.marks));
  CHECK(num_held == held_by_engine);
}
