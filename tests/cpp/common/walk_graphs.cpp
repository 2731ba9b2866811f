#include "common/walk_graphs.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <variant>

#include "phew/arithmetic/philox.hpp"

namespace {

std::vector<std::int32_t> groups_of(std::uint32_t num_units, std::uint32_t units_per_group) {
  std::vector<std::int32_t> groups(num_units);
  for (std::uint32_t unit = 0; unit < num_units; ++unit) {
    groups[unit] = static_cast<std::int32_t>(unit / units_per_group);
  }
  return groups;
}

// Returns a weight in [-1, 1). One in eight is zero.
float make_weight(std::uint32_t i, std::uint32_t key) {
  const phew::PhiloxCounter random = phew::philox4x32({{i, 0, 0, 0}}, {{key, 0}});
  if (random.words[1] % 8 == 0) return 0;
  return static_cast<float>(random.words[0]) * 0x1p-31F - 1;
}

}  // namespace

phew::Graph make_graph() {
  phew::Graph graph;
  for (const std::size_t num_units : {20U, 36U, 36U, 72U, 18U}) {
    graph.live.emplace_back(num_units, std::uint8_t{1});
  }
  graph.live[0][3] = graph.live[1][20] = graph.live[3][1] = 0;
  // Link 1 leads to nothing else from the units 3, 4 and 5, so these take the shortcut.
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

phew::Graph make_wide_graph() {
  phew::Graph graph;
  for (const std::size_t num_units : {3U, 200U, 700U, 700U, 40U}) {
    graph.live.emplace_back(num_units, std::uint8_t{1});
  }
  graph.live[1][17] = graph.live[1][199] = 0;
  graph.live[2][0] = graph.live[2][350] = graph.live[2][699] = 0;
  graph.links = {
      phew::WeightedLink{0, 1, 1, 200, 3, 1, {0, 3, 1, 1}, 0, false},
      phew::WeightedLink{1, 2, 1, 700, 200, 9, {0, 1800, 9, 1}, 0, false},
      phew::WiringLink{2, 3, groups_of(700, 1), groups_of(700, 1), false},
      phew::WiringLink{2, 3, groups_of(700, 50), groups_of(700, 50), false},
      phew::WeightedLink{3, 4, 1, 40, 700, 1, {0, 1, 40, 1}, 0, false},
      phew::WeightedLink{1, 2, 10, 70, 20, 9, {12'600, 180, 9, 1}, 0, false},
  };
  graph.entries = {0};
  graph.exits = {4};
  return graph;
}

Parameters::Parameters(const std::vector<std::uint32_t>& sizes) {
  for (const std::uint32_t size : sizes) {
    std::vector<float>& link = weights.emplace_back(size);
    for (std::uint32_t i = 0; i < size; ++i) link[i] = make_weight(i, size);
    marks.emplace_back(size);
    counts.emplace_back(size);
    has_absent.push_back(false);
  }
}

std::vector<Visit> find_new(const phew::WalkEngine& engine, Parameters& parameters,
                            phew::WalkRange range, unsigned num_threads, std::uint32_t batch_size) {
  range.first_listed = range.first_walk;
  return sort_visits(engine.walk(range, phew::Recording::kMark,
                                 parameters.loader(phew::Recording::kMark), num_threads,
                                 batch_size));
}

void set_degrees(phew::Graph& graph, std::size_t index,
                 const std::function<bool(std::size_t element)>& is_absent) {
  auto& link = std::get<phew::WeightedLink>(graph.links[index]);
  link.source_degrees.assign(graph.live[link.source].size(), 0);
  link.target_degrees.assign(graph.live[link.target].size(), 0);
  for (std::uint32_t group = 0; group < link.num_groups; ++group) {
    for (std::uint32_t i = 0; i < link.targets_per_group; ++i) {
      for (std::uint32_t j = 0; j < link.sources_per_group; ++j) {
        const std::size_t target = std::size_t{group} * link.targets_per_group + i;
        const std::size_t source = std::size_t{group} * link.sources_per_group + j;
        std::uint32_t num_edges = 0;
        for (std::uint32_t k = 0; k < link.num_positions; ++k) {
          const std::int64_t element = link.offset + group * link.strides[0] + i * link.strides[1] +
                                       j * link.strides[2] + k * link.strides[3];
          if (!is_absent(static_cast<std::size_t>(element))) ++num_edges;
        }
        if (graph.live[link.target][target]) link.source_degrees[source] += num_edges;
        if (graph.live[link.source][source]) link.target_degrees[target] += num_edges;
      }
    }
  }
}

void take_edges_out(phew::Graph& graph, Parameters& parameters) {
  for (const std::size_t index : {0U, 1U, 2U, 5U}) {
    std::vector<float>& weights = parameters.weights[index];
    for (std::size_t i = 0; i < weights.size(); ++i) {
      // Sources and targets 1 of link 5 lose all their edges.
      const bool of_unit = index == 5 && (i % 72 == 1 || i / 72 == 1);
      if (of_unit || i % 5 == 1 || i % 7 == 2) weights[i] = -0.0F;
    }
    parameters.has_absent[index] = true;
    set_degrees(graph, index,
                [&](std::size_t i) { return weights[i] == 0 && std::signbit(weights[i]); });
  }
}

Visit visit_at(const phew::Visits& visits, std::size_t i) {
  const std::uint64_t weight = visits.weights[i];
  return {visits.walks[i], static_cast<std::uint32_t>(weight / kNumbersPerLink),
          weight % kNumbersPerLink};
}

std::vector<Visit> sort_visits(const phew::Visits& visits) {
  std::vector<Visit> sorted;
  sorted.reserve(visits.walks.size());
  for (std::size_t i = 0; i < visits.walks.size(); ++i) {
    sorted.push_back(visit_at(visits, i));
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

phew::Load Parameters::loader(phew::Recording recording) {
  return [this, recording](std::uint32_t link) {
    void* visits = recording == phew::Recording::kCount ? static_cast<void*>(counts[link].data())
                                                        : marks[link].data();
    return phew::LinkBuffers{weights[link].data(), phew::DType::kFloat32, visits,
                             link * kNumbersPerLink, has_absent[link]};
  };
}

Parameters make_parameters() {
  Parameters parameters({1080U, 108U, 722U, 0U, 0U, 1296U});
  std::fill_n(parameters.weights[1].begin() + 18, 9, 0.0F);
  return parameters;
}

Parameters make_wide_parameters() {
  Parameters parameters({600U, 1'260'000U, 0U, 0U, 28'000U, 126'000U});
  auto& weights = parameters.weights;
  constexpr std::ptrdiff_t kRow = 1800;
  constexpr std::ptrdiff_t kSource = 270;
  std::fill_n(weights[1].begin() + kRow, kRow, 0.0F);
  for (std::ptrdiff_t target = 0; target < 700; ++target) {
    std::fill_n(weights[1].begin() + target * kRow + kSource, 9, 0.0F);
  }
  std::fill_n(weights[0].begin() + std::ptrdiff_t{5} * 3, 3, 500.0F);
  std::fill_n(weights[4].begin() + std::ptrdiff_t{123} * 40, 40, 900.0F);
  return parameters;
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
