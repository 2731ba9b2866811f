#include "naive_walk.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>
#include <variant>

#include "phew/hop.hpp"
#include "phew/mass.hpp"

namespace {

struct Edge {
  std::uint32_t unit;
  std::uint64_t mass;
  std::vector<std::uint64_t> elements;
};

class NaiveWalk {
 public:
  NaiveWalk(const phew::Graph& graph, const Weights& weights, const phew::Options& options)
      : graph_(graph), weights_(weights), options_(options) {
    for (const auto& link : weights) scales_.push_back(measure(link));
  }

  std::vector<Visit> run(std::uint64_t walk) const {
    std::vector<Visit> visits;
    const bool backward = walk % 2 == 1;
    auto [space, unit] = start(walk);
    for (;;) {
      const auto links = eligible(space, unit, backward);
      if (links.empty()) return visits;
      const std::uint32_t link = links[draw(walk, space, phew::Purpose::kFork, links.size())];
      const auto edges = live_edges(link, unit, backward);
      std::uint64_t total = 0;
      for (const Edge& edge : edges) total += edge.mass;
      std::uint64_t value = draw(walk, link, phew::Purpose::kEdge, total);
      const Edge* edge = edges.data();
      for (; value >= edge->mass; ++edge) value -= edge->mass;
      for (const std::uint64_t element : edge->elements) visits.emplace_back(walk, link, element);
      space = far_space(link, backward);
      unit = edge->unit;
    }
  }

 private:
  std::pair<std::uint32_t, std::uint32_t> start(std::uint64_t walk) const {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> units;
    for (const std::uint32_t space : walk % 2 == 1 ? graph_.exits : graph_.entries) {
      for (std::uint32_t unit = 0; unit < graph_.live[space].size(); ++unit) {
        if (graph_.live[space][unit]) units.emplace_back(space, unit);
      }
    }
    return units[walk / 2 % units.size()];
  }

  std::uint64_t draw(std::uint64_t walk, std::uint32_t index, phew::Purpose purpose,
                     std::uint64_t total) const {
    return phew::draw(phew::make_key(options_.seed), walk, index, purpose, total);
  }

  std::uint32_t near_space(std::size_t link, bool backward) const {
    return std::visit([&](const auto& at) { return backward ? at.target : at.source; },
                      graph_.links[link]);
  }

  std::uint32_t far_space(std::size_t link, bool backward) const {
    return near_space(link, !backward);
  }

  std::vector<std::uint32_t> eligible(std::uint32_t space, std::uint32_t unit,
                                      bool backward) const {
    std::vector<std::uint32_t> eligible[2];
    for (std::uint32_t link = 0; link < graph_.links.size(); ++link) {
      if (near_space(link, backward) != space || live_edges(link, unit, backward).empty()) continue;
      const bool shortcut =
          std::visit([](const auto& at) { return at.shortcut; }, graph_.links[link]);
      eligible[shortcut ? 1 : 0].push_back(link);
    }
    return eligible[0].empty() ? eligible[1] : eligible[0];
  }

  std::vector<Edge> live_edges(std::uint32_t index, std::uint32_t unit, bool backward) const {
    const auto& live = graph_.live[far_space(index, backward)];
    std::vector<Edge> edges;
    std::uint64_t total = 0;
    for (std::uint32_t far = 0; far < live.size(); ++far) {
      if (!live[far]) continue;
      const std::uint32_t source = backward ? far : unit;
      const std::uint32_t target = backward ? unit : far;
      const auto* wiring = std::get_if<phew::WiringLink>(&graph_.links[index]);
      if (wiring == nullptr) {
        add_kernel(edges, index, source, target, far);
      } else if (wiring->source_groups[source] >= 0 &&
                 wiring->source_groups[source] == wiring->target_groups[target]) {
        edges.push_back({far, 1, {}});
      }
    }
    for (const Edge& edge : edges) total += edge.mass;
    if (total == 0) {
      for (Edge& edge : edges) edge.mass = 1;
    }
    return edges;
  }

  void add_kernel(std::vector<Edge>& edges, std::uint32_t index, std::uint32_t source,
                  std::uint32_t target, std::uint32_t far) const {
    const auto& link = std::get<phew::WeightedLink>(graph_.links[index]);
    const std::uint32_t group = source / link.sources_per_group;
    if (group != target / link.targets_per_group) return;
    std::vector<std::uint64_t> kernel(link.num_positions);
    const std::int64_t first = link.offset + group * link.strides[0] +
                               target % link.targets_per_group * link.strides[1] +
                               source % link.sources_per_group * link.strides[2];
    for (std::size_t k = 0; k < kernel.size(); ++k) {
      kernel[k] =
          static_cast<std::uint64_t>(first) + k * static_cast<std::uint64_t>(link.strides[3]);
    }
    const bool whole = options_.granularity == phew::Granularity::kKernel;
    std::transform(kernel.begin(), kernel.end(), std::back_inserter(edges),
                   [&](std::uint64_t element) {
                     return Edge{far, mass(index, element), whole ? kernel : std::vector{element}};
                   });
  }

  phew::MassScale measure(const std::vector<float>& weights) const {
    double smallest = 0;
    double largest = 0;
    for (const float weight : weights) {
      const double magnitude = std::fabs(weight);
      if (magnitude == 0) continue;
      smallest = smallest == 0 ? magnitude : std::min(smallest, magnitude);
      largest = std::max(largest, magnitude);
    }
    return phew::make_mass_scale(smallest, largest, options_.power);
  }

  std::uint64_t mass(std::uint32_t index, std::uint64_t element) const {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &weights_[index][element], sizeof bits);
    switch (options_.power) {
      case 0:
        return phew::MassOf<phew::Float32, 0>{scales_[index]}(bits);
      case 2:
        return phew::MassOf<phew::Float32, 2>{scales_[index]}(bits);
      case -1:
        return phew::MassOf<phew::Float32, -1>{scales_[index]}(bits);
      default:
        return phew::MassOf<phew::Float32, 1>{scales_[index]}(bits);
    }
  }

  const phew::Graph& graph_;
  const Weights& weights_;
  const phew::Options& options_;
  std::vector<phew::MassScale> scales_;
};

}  // namespace

std::vector<Visit> walk_naively(const phew::Graph& graph, const Weights& weights,
                                const phew::Options& options, phew::WalkRange range) {
  const NaiveWalk naive(graph, weights, options);
  std::vector<Visit> all;
  for (std::uint64_t walk = range.first_walk; walk < range.first_walk + range.num_walks; ++walk) {
    for (const Visit& visit : naive.run(walk)) all.push_back(visit);
  }
  std::sort(all.begin(), all.end());
  return all;
}
