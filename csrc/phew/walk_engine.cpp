#include "phew/walk_engine.hpp"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <utility>
#include <variant>

#include "phew/fork_mass.hpp"
#include "phew/hop.hpp"
#include "phew/magnitude_range.hpp"
#include "phew/walkers.hpp"

namespace phew {
namespace {

// The walkers of a batch on the units that they start on, by space.
std::vector<std::vector<Walker>> place_walkers(const DirectedGraph& graph, std::uint64_t first_walk,
                                               std::uint32_t num_walkers) {
  std::vector<std::vector<Walker>> walkers(graph.spaces.size());
  std::size_t next = first_walk / 2 % graph.starts.size();
  for (std::uint32_t number = 0; number < num_walkers; ++number) {
    const auto [space, unit] = graph.starts[next];
    walkers[space].push_back({number, unit});
    if (++next == graph.starts.size()) next = 0;
  }
  return walkers;
}

template <typename Element>
void append(std::vector<Element>& to, const std::vector<Element>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

Visits join(std::vector<Visits> parts) {
  Visits all = std::move(parts.front());
  for (std::size_t i = 1; i < parts.size(); ++i) {
    append(all.walks, parts[i].walks);
    append(all.links, parts[i].links);
    append(all.elements, parts[i].elements);
  }
  return all;
}

}  // namespace

WalkEngine::WalkEngine(Graph graph, const Options& options)
    : graph_(std::move(graph)),
      options_(options),
      forward_(graph_, Direction::kForward),
      backward_(graph_, Direction::kBackward) {}

std::vector<bool> WalkEngine::measure(const Load& load, unsigned num_threads) {
  Workers workers(num_threads);
  const std::size_t num_links = graph_.links.size();
  std::vector<bool> is_finite(num_links, true);
  scales_.assign(num_links, {});
  std::vector<UnitMasses> source_masses(num_links);
  std::vector<UnitMasses> target_masses(num_links);
  for (std::uint32_t index = 0; index < num_links; ++index) {
    const auto* link = std::get_if<WeightedLink>(&graph_.links[index]);
    if (link == nullptr) continue;
    const LinkBuffers buffers = load(index);
    const MagnitudeRange range = measure_magnitudes(workers, *link, buffers);
    is_finite[index] = range.is_finite;
    if (!range.is_finite) continue;
    scales_[index] = make_mass_scale(range.smallest, range.largest, options_.power);
    if (options_.fork == ForkRule::kUniform) continue;
    const auto sum = [&](Direction direction) {
      return sum_edges(workers, view_edges(graph_, *link, direction), buffers, scales_[index],
                       options_.power);
    };
    source_masses[index] = sum(Direction::kForward);
    target_masses[index] = sum(Direction::kBackward);
  }
  const bool all_finite = std::find(is_finite.begin(), is_finite.end(), false) == is_finite.end();
  if (options_.fork == ForkRule::kMass && all_finite) {
    set_fork_masses(forward_, std::move(source_masses), scales_);
    set_fork_masses(backward_, std::move(target_masses), scales_);
  }
  return is_finite;
}

Visits WalkEngine::walk(WalkRange range, Recording recording, const Load& load,
                        unsigned num_threads, std::uint32_t batch_size) const {
  assert(scales_.size() == graph_.links.size());
  Workers workers(num_threads);
  std::vector<Visits> new_visits(workers.size());
  for (const DirectedGraph* graph : {&forward_, &backward_}) {
    if (graph->starts.empty()) continue;
    const std::uint64_t parity = graph == &backward_ ? 1 : 0;
    const std::uint64_t skipped = range.first_walk % 2 ^ parity;
    std::uint64_t first_walk = range.first_walk + skipped;
    std::uint64_t num_left = (range.num_walks + 1 - skipped) / 2;
    while (num_left > 0) {
      const std::uint64_t num_walkers = std::min<std::uint64_t>(num_left, batch_size);
      walk_batch(workers, *graph, {make_key(options_.seed), first_walk},
                 static_cast<std::uint32_t>(num_walkers), recording, load, new_visits);
      first_walk += 2 * num_walkers;
      num_left -= num_walkers;
    }
  }
  return join(std::move(new_visits));
}

void WalkEngine::walk_batch(Workers& workers, const DirectedGraph& graph, const Batch& batch,
                            std::uint32_t num_walkers, Recording recording, const Load& load,
                            std::vector<Visits>& new_visits) const {
  std::vector<std::vector<Walker>> walkers = place_walkers(graph, batch.first_walk, num_walkers);
  for (const std::uint32_t index : graph.order) {
    if (walkers[index].empty()) continue;
    const DirectedSpace& space = graph.spaces[index];
    const Departures departures =
        depart(workers, batch, space, index, std::exchange(walkers[index], {}));
    for (std::size_t i = 0; i < space.links.size(); ++i) {
      const DirectedLink& link = space.links[i];
      const std::uint32_t* unit_begin = &departures.bucket_begin[departures.first_bucket[i]];
      const std::uint32_t* unit_end = &departures.bucket_begin[departures.first_bucket[i + 1]];
      if (*unit_begin == *unit_end) continue;
      std::vector<Walker>& arrived = walkers[link.far_space];
      const std::size_t num_before = arrived.size();
      const std::size_t num_hops = *unit_end - *unit_begin;
      arrived.resize(num_before + num_hops);
      const Walker* from = &departures.walkers[*unit_begin];
      Walker* to = &arrived[num_before];
      if (const auto* wiring = std::get_if<Wiring>(&link.edges)) {
        hop_wiring(workers, batch, link.index, wiring->view(), num_hops, from, to);
      } else {
        const WeightedHop hop{batch,
                              link.index,
                              std::get<EdgeView>(link.edges),
                              load(link.index),
                              scales_[link.index],
                              options_.power,
                              options_.granularity,
                              recording};
        hop_weighted(workers, hop, {unit_begin, unit_end + 1}, from, to, new_visits);
      }
    }
  }
}

}  // namespace phew
