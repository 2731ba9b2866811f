#include "common/naive_walk.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>
#include <variant>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/mass.hpp"

namespace {

struct Edge {
  std::uint32_t unit;
  std::uint64_t mass;
  std::uint64_t element;
  // Its kernel's first position is this element.
  std::uint64_t kernel;
};

using Masses = std::vector<std::uint64_t>;

constexpr std::uint64_t kForkMassCap = std::uint64_t{1} << 56;

std::uint64_t sum_of(const std::vector<Edge>& edges) {
  std::uint64_t sum = 0;
  for (const Edge& edge : edges) sum += edge.mass;
  return sum;
}

std::uint64_t sum_of(const Masses& masses) {
  std::uint64_t sum = 0;
  for (const std::uint64_t mass : masses) sum += mass;
  return sum;
}

class NaiveWalk {
 public:
  NaiveWalk(const phew::Graph& graph, const Weights& weights, const phew::Options& options)
      : graph_(graph), weights_(weights), options_(options) {
    for (const auto& link : weights) {
      const phew::MassScale& scale = scales_.emplace_back(measure(link));
      if (scale.has_mass) common_exponent_ = std::max(common_exponent_, scale.exponent);
    }
  }

  std::vector<Visit> run(std::uint64_t walk) const {
    std::vector<Visit> visits;
    const bool backward = walk % 2 == 1;
    const auto starts = find_starts(backward);
    auto [space, unit] = starts[walk / 2 % starts.size()];
    for (;;) {
      const auto links = eligible(space, unit, backward);
      if (links.empty()) return visits;
      const Masses masses = fork_masses(links, unit, backward);
      std::uint64_t value = draw(walk, space, phew::Purpose::kFork, sum_of(masses));
      std::size_t choice = 0;
      for (; value >= masses[choice]; ++choice) value -= masses[choice];
      const std::uint32_t link = links[choice];
      const auto edges = live_edges(link, unit, backward);
      value = draw(walk, link, phew::Purpose::kEdge, sum_of(edges));
      const Edge* edge = edges.data();
      for (; value >= edge->mass; ++edge) value -= edge->mass;
      visit(walk, link, *edge, visits);
      space = far_space(link, backward);
      unit = edge->unit;
    }
  }

  phew::Flow flow(bool backward) const {
    phew::Flow flow;
    for (const auto& live : graph_.live) flow.units.emplace_back(live.size());
    for (std::size_t link = 0; link < graph_.links.size(); ++link) {
      flow.links.emplace_back(graph_.live[near_space(link, backward)].size());
    }
    const auto starts = find_starts(backward);
    for (const auto& [space, unit] : starts) {
      flow.units[space][unit] += 1 / static_cast<double>(starts.size());
    }
    const auto num_spaces = static_cast<std::uint32_t>(graph_.live.size());
    for (std::uint32_t i = 0; i < num_spaces; ++i) {
      const std::uint32_t space = backward ? num_spaces - 1 - i : i;
      for (std::uint32_t unit = 0; unit < graph_.live[space].size(); ++unit) {
        if (flow.units[space][unit] > 0) hand_on(space, unit, backward, flow);
      }
    }
    return flow;
  }

  std::vector<std::vector<double>> visit_rates() const {
    std::vector<std::vector<double>> rates;
    for (const auto& link : weights_) rates.emplace_back(link.size());
    for (const bool backward : {false, true}) {
      const phew::Flow flow = this->flow(backward);
      for (std::uint32_t link = 0; link < graph_.links.size(); ++link) {
        for (std::uint32_t unit = 0; unit < flow.links[link].size(); ++unit) {
          if (flow.links[link][unit] == 0) continue;
          const auto edges = live_edges(link, unit, backward);
          const double share = flow.links[link][unit] / static_cast<double>(sum_of(edges)) / 2;
          for (const Edge& edge : edges) {
            std::vector<Visit> visits;
            visit(0, link, edge, visits);
            for (const auto& [walk, at, element] : visits) {
              rates[at][element] += share * static_cast<double>(edge.mass);
            }
          }
        }
      }
    }
    return rates;
  }

 private:
  std::vector<std::pair<std::uint32_t, std::uint32_t>> find_starts(bool backward) const {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> units;
    for (const std::uint32_t space : backward ? graph_.exits : graph_.entries) {
      for (std::uint32_t unit = 0; unit < graph_.live[space].size(); ++unit) {
        if (graph_.live[space][unit]) units.emplace_back(space, unit);
      }
    }
    return units;
  }

  void hand_on(std::uint32_t space, std::uint32_t unit, bool backward, phew::Flow& flow) const {
    const auto links = eligible(space, unit, backward);
    const Masses masses = fork_masses(links, unit, backward);
    for (std::size_t i = 0; i < links.size(); ++i) {
      const double of_link = flow.units[space][unit] * static_cast<double>(masses[i]) /
                             static_cast<double>(sum_of(masses));
      flow.links[links[i]][unit] = of_link;
      const auto edges = live_edges(links[i], unit, backward);
      const auto total = static_cast<double>(sum_of(edges));
      for (const Edge& edge : edges) {
        flow.units[far_space(links[i], backward)][edge.unit] +=
            of_link * static_cast<double>(edge.mass) / total;
      }
    }
  }

  std::uint64_t draw(std::uint64_t walk, std::uint32_t index, phew::Purpose purpose,
                     std::uint64_t total) const {
    return phew::draw(phew::make_key(options_.seed), walk, index, purpose, total);
  }

  void visit(std::uint64_t walk, std::uint32_t index, const Edge& edge,
             std::vector<Visit>& visits) const {
    const auto* link = std::get_if<phew::WeightedLink>(&graph_.links[index]);
    if (link == nullptr) return;
    if (options_.granularity == phew::Granularity::kWeight) {
      visits.emplace_back(walk, index, edge.element);
      return;
    }
    for (std::uint64_t k = 0; k < link->num_positions; ++k) {
      const std::uint64_t element = edge.kernel + k * static_cast<std::uint64_t>(link->strides[3]);
      if (!is_absent(index, element)) visits.emplace_back(walk, index, element);
    }
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

  Masses fork_masses(const std::vector<std::uint32_t>& links, std::uint32_t unit,
                     bool backward) const {
    Masses masses(links.size(), 1);
    if (options_.fork == phew::ForkRule::kUniform) return masses;
    for (std::size_t i = 0; i < links.size(); ++i) masses[i] = link_mass(links[i], unit, backward);
    return masses;
  }

  // Returns the mass in the scale that all links have in common.
  std::uint64_t link_mass(std::uint32_t link, std::uint32_t unit, bool backward) const {
    const auto edges = find_edges(link, unit, backward);
    std::uint64_t mass = 0;
    if (std::holds_alternative<phew::WeightedLink>(graph_.links[link])) {
      const phew::MassScale& scale = scales_[link];
      const int shift = scale.has_mass ? common_exponent_ - scale.exponent : 0;
      mass = shift < 64 ? sum_of(edges) >> shift : 0;
    } else {
      for (const Edge& edge : edges) {
        const std::uint32_t space = far_space(link, backward);
        const auto links = eligible(space, edge.unit, backward);
        const std::uint64_t of_unit =
            links.empty() ? 1 : sum_of(fork_masses(links, edge.unit, backward));
        mass += std::min(of_unit, kForkMassCap);
      }
    }
    return std::clamp<std::uint64_t>(mass, 1, kForkMassCap);
  }

  std::vector<Edge> live_edges(std::uint32_t link, std::uint32_t unit, bool backward) const {
    auto edges = find_edges(link, unit, backward);
    if (sum_of(edges) == 0) {
      for (Edge& edge : edges) edge.mass = 1;
    }
    return edges;
  }

  std::vector<Edge> find_edges(std::uint32_t index, std::uint32_t unit, bool backward) const {
    const auto& live = graph_.live[far_space(index, backward)];
    std::vector<Edge> edges;
    for (std::uint32_t far = 0; far < live.size(); ++far) {
      if (!live[far]) continue;
      const std::uint32_t source = backward ? far : unit;
      const std::uint32_t target = backward ? unit : far;
      const auto* wiring = std::get_if<phew::WiringLink>(&graph_.links[index]);
      if (wiring == nullptr) {
        add_kernel(edges, index, source, target, far);
      } else if (wiring->source_groups[source] >= 0 &&
                 wiring->source_groups[source] == wiring->target_groups[target]) {
        edges.push_back({far, 1, 0, 0});
      }
    }
    return edges;
  }

  void add_kernel(std::vector<Edge>& edges, std::uint32_t index, std::uint32_t source,
                  std::uint32_t target, std::uint32_t far) const {
    const auto& link = std::get<phew::WeightedLink>(graph_.links[index]);
    const std::uint32_t group = source / link.sources_per_group;
    if (group != target / link.targets_per_group) return;
    const auto kernel = static_cast<std::uint64_t>(
        link.offset + group * link.strides[0] + target % link.targets_per_group * link.strides[1] +
        source % link.sources_per_group * link.strides[2]);
    for (std::uint64_t k = 0; k < link.num_positions; ++k) {
      const std::uint64_t element = kernel + k * static_cast<std::uint64_t>(link.strides[3]);
      if (!is_absent(index, element)) {
        edges.push_back({far, mass(index, element), element, kernel});
      }
    }
  }

  bool is_absent(std::uint32_t index, std::uint64_t element) const {
    const float weight = weights_[index][element];
    return !std::get<phew::WeightedLink>(graph_.links[index]).source_degrees.empty() &&
           weight == 0 && std::signbit(weight);
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
  int common_exponent_ = std::numeric_limits<int>::min();
};

}  // namespace

std::vector<Visit> walk_naively(const phew::Graph& graph, const Weights& weights,
                                const phew::Options& options, phew::WalkRange range) {
  const NaiveWalk naive(graph, weights, options);
  std::vector<Visit> all;
  for (std::uint64_t i = 0; i < range.num_walks; ++i) {
    for (const Visit& visit : naive.run(range.first_walk + i * range.step)) all.push_back(visit);
  }
  std::sort(all.begin(), all.end());
  return all;
}

phew::Flow flow_naively(const phew::Graph& graph, const Weights& weights,
                        const phew::Options& options, phew::Direction direction) {
  return NaiveWalk(graph, weights, options).flow(direction == phew::Direction::kBackward);
}

std::vector<std::vector<double>> visit_rates_naively(const phew::Graph& graph,
                                                     const Weights& weights,
                                                     const phew::Options& options) {
  return NaiveWalk(graph, weights, options).visit_rates();
}
