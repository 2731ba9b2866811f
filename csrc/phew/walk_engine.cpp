#include "phew/walk_engine.hpp"

#include <algorithm>
#include <cassert>
#include <utility>
#include <variant>

#include "phew/arithmetic/draw.hpp"
#include "phew/expectation/fork_mass.hpp"
#include "phew/walks/link_hop.hpp"
#include "phew/walks/weighted_hop.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {
namespace {

template <typename Element>
void append(std::vector<Element>& to, std::vector<Element>& from) {
  if (to.empty()) {
    to = std::move(from);
  } else {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  }
}

Visits join(std::vector<Visits> parts) {
  Visits all;
  for (Visits& part : parts) {
    append(all.walks, part.walks);
    append(all.weights, part.weights);
  }
  return all;
}

}  // namespace

WalkEngine::WalkEngine(Graph graph, const Options& options)
    : graph_(std::move(graph)),
      options_(options),
      forward_(graph_, Direction::kForward),
      backward_(graph_, Direction::kBackward) {}

const std::vector<LinkMeasure>& WalkEngine::measure(const Load& load, unsigned num_threads) {
  Workers workers(num_threads);
  measures_.assign(graph_.links.size(), {});
  bool all_finite = true;
  for (std::uint32_t index = 0; index < measures_.size(); ++index) {
    const auto* link = std::get_if<WeightedLink>(&graph_.links[index]);
    if (link == nullptr) continue;
    LinkMeasure& measure = measures_[index];
    const LinkBuffers buffers = load(index);
    const WeightRows rows(*link, buffers);
    measure.range = measure_magnitudes(workers, rows, buffers.dtype);
    all_finite &= measure.range.is_finite;
    if (!measure.range.is_finite) continue;
    measure.scale = make_mass_scale(measure.range.smallest, measure.range.largest, options_.power);
    measure.totals = sum_edges(workers, rows, graph_.live[link->source], graph_.live[link->target],
                               MassConverter(buffers, options_.power, measure.scale));
  }
  if (options_.fork == ForkRule::kMass && all_finite) {
    set_fork_masses(forward_, Direction::kForward, measures_);
    set_fork_masses(backward_, Direction::kBackward, measures_);
  }
  return measures_;
}

Flow WalkEngine::flow(Direction direction, const Load& load, unsigned num_threads) const {
  assert(measures_.size() == graph_.links.size());
  Workers workers(num_threads);
  return compute_flow(workers, measured(), direction == Direction::kForward ? forward_ : backward_,
                      load);
}

std::vector<RateHistogram> WalkEngine::count_rates(const std::vector<std::uint32_t>& links,
                                                   const Flow& forward, const Flow& backward,
                                                   double share, const Load& load,
                                                   unsigned num_threads) const {
  Workers workers(num_threads);
  std::vector<RateHistogram> histograms;
  histograms.reserve(links.size());
  for (const std::uint32_t link : links) {
    histograms.push_back(phew::count_rates(workers, measured(), link, forward, backward,
                                           options_.granularity, share, load(link)));
  }
  return histograms;
}

Visits WalkEngine::walk(WalkRange range, Recording recording, const Load& load,
                        unsigned num_threads, std::uint32_t batch_size) const {
  assert(measures_.size() == graph_.links.size());
  Team team(num_threads);
  for_each_batch(range, batch_size,
                 [&](Direction direction, std::uint64_t first_walk, std::uint32_t num_walkers) {
                   const DirectedGraph& directed =
                       direction == Direction::kForward ? forward_ : backward_;
                   if (directed.starts.empty()) return;
                   walk_batch(team, directed, {make_key(options_.seed), first_walk, num_walkers},
                              {recording, range.first_listed, load});
                 });
  return join(std::move(team.listed));
}

void WalkEngine::walk_batch(Team& team, const DirectedGraph& directed, const Batch& batch,
                            const WalkCall& call) const {
  std::vector<Buckets> walkers = place_walkers(team, directed, batch);
  for (const std::uint32_t index : directed.order) {
    if (walkers[index].empty()) continue;
    const DirectedSpace& space = directed.spaces[index];
    std::vector<Buckets> departing =
        depart(team, batch, space, index, std::exchange(walkers[index], {}));
    for (std::size_t i = 0; i < departing.size(); ++i) {
      if (count_walkers(departing[i], 0, space.num_units) == 0) continue;
      const DirectedLink& link = space.links[i];
      Buckets& arrived = walkers[link.far_space];
      if (arrived.empty()) {
        arrived = team.make_buckets(directed.spaces[link.far_space].num_units, batch.num_walkers);
      }
      hop(team, link, batch, call, std::move(departing[i]), arrived);
    }
  }
  for (ChunkPool& pool : team.pools) pool.reset();
}

void WalkEngine::hop(Team& team, const DirectedLink& link, const Batch& batch, const WalkCall& call,
                     Buckets walkers, Buckets& arrived) const {
  if (const Wiring* wiring = link.wiring()) {
    hop_wiring(team, batch, link.index, *wiring, std::move(walkers), arrived);
    return;
  }
  const LinkBuffers buffers = call.load(link.index);
  const auto& edges = std::get<EdgeView>(link.edges);
  const LinkMeasure& measure = measures_[link.index];
  const WeightedHop hop{batch,
                        link.index,
                        edges,
                        WeightRows(std::get<WeightedLink>(graph_.links[link.index]), buffers),
                        buffers,
                        MassConverter(buffers, options_.power, measure.scale),
                        MassConverter::equal(buffers),
                        edges.near_is_target ? measure.totals.targets : measure.totals.sources,
                        options_.granularity,
                        call.recording,
                        call.first_listed};
  hop_weighted(team, hop, std::move(walkers), arrived);
}

}  // namespace phew
