#include "phew/cuda/walk_engine.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "phew/cuda/device_graph.hpp"
#include "phew/cuda/expectation.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/cuda/measured_links.hpp"
#include "phew/cuda/memory.hpp"
#include "phew/cuda/walk_bodies.hpp"
#include "phew/expectation/fork_mass.hpp"

namespace phew::cuda {
namespace {

// Returns the number of entries of the largest table of any link.
std::size_t count_most_entries(const DirectedGraph& directed) {
  std::size_t most = 0;
  for (const DirectedSpace& space : directed.spaces) {
    for (const DirectedLink& link : space.links) {
      if (const auto* edges = std::get_if<EdgeView>(&link.edges)) {
        most = std::max(most, edges->num_near() * TableView::num_entries_of(*edges));
      }
    }
  }
  return most;
}

}  // namespace

class WalkEngine::Impl {
 public:
  Impl(Graph graph, const Options& options, Device device)
      : device_(std::move(device)),
        graph_(std::move(graph)),
        options_(options),
        forward_(graph_, Direction::kForward),
        backward_(graph_, Direction::kBackward),
        links_(device_, graph_, options_.power),
        most_entries_(std::max(count_most_entries(forward_), count_most_entries(backward_))) {}

  const std::vector<LinkMeasure>& measure(const Load& load);
  Flow flow(Direction direction, const Load& load) const;
  std::vector<RateHistogram> count_rates(const std::vector<std::uint32_t>& links,
                                         const Flow& forward, const Flow& backward, double share,
                                         const Load& load) const;
  void walk(WalkRange range, Recording recording, const Load& load, std::uint32_t batch_size,
            const VisitList& list, std::uint64_t* changed_link) const;

 private:
  // The arguments of `walk` that its batches have in common, and their memory.
  struct WalkCall {
    Recording recording;
    std::uint64_t first_listed;
    const Load& load;
    const VisitList& list;
    std::uint64_t* changed_link;
    // Room for the tables of any link.
    std::uint64_t* cumulative;
  };

  const DirectedGraph& directed(Direction direction) const {
    return direction == Direction::kForward ? forward_ : backward_;
  }
  const DeviceGraph& on_device(Direction direction) const {
    return direction == Direction::kForward ? *forward_on_device_ : *backward_on_device_;
  }
  void walk_batch(Direction direction, const Walkers& walkers, const WalkCall& call) const;
  void hop(const DirectedLink& link, const ArrivalSpace& far_space, const Walkers& walkers,
           const WalkCall& call) const;

  // Outlives the memory that is asked of it.
  Device device_;
  Graph graph_;
  Options options_;
  DirectedGraph forward_;
  DirectedGraph backward_;
  MeasuredLinks links_;
  // The graph as walkers read it, once the weights are measured.
  std::unique_ptr<DeviceGraph> forward_on_device_;
  std::unique_ptr<DeviceGraph> backward_on_device_;
  std::size_t most_entries_;
};

const std::vector<LinkMeasure>& WalkEngine::Impl::measure(const Load& load) {
  if (!links_.measure(load)) return links_.measures();
  if (options_.fork == ForkRule::kMass) {
    set_fork_masses(forward_, Direction::kForward, links_.measures());
    set_fork_masses(backward_, Direction::kBackward, links_.measures());
  }
  forward_on_device_ = std::make_unique<DeviceGraph>(device_, forward_, graph_.links.size());
  backward_on_device_ = std::make_unique<DeviceGraph>(device_, backward_, graph_.links.size());
  return links_.measures();
}

Flow WalkEngine::Impl::flow(Direction direction, const Load& load) const {
  return compute_flow(links_, directed(direction), on_device(direction), load);
}

std::vector<RateHistogram> WalkEngine::Impl::count_rates(const std::vector<std::uint32_t>& links,
                                                         const Flow& forward, const Flow& backward,
                                                         double share, const Load& load) const {
  return cuda::count_rates(links_, links, forward, backward, options_.granularity, share, load);
}

void WalkEngine::Impl::walk(WalkRange range, Recording recording, const Load& load,
                            std::uint32_t batch_size, const VisitList& list,
                            std::uint64_t* changed_link) const {
  const std::uint64_t most_of_a_direction = (range.num_walks * range.step + 1) / 2;
  const std::uint64_t most = std::min<std::uint64_t>(most_of_a_direction, batch_size);
  const Buffer<std::uint32_t> units(device_, most);
  const Buffer<std::uint32_t> next_links(device_, most);
  const Buffer<std::uint64_t> cumulative(device_, most_entries_);
  for_each_batch(
      range, batch_size,
      [&](Direction direction, std::uint64_t first_walk, std::uint32_t num_walkers) {
        if (directed(direction).starts.empty()) return;
        walk_batch(
            direction,
            {units.data(), next_links.data(), num_walkers, make_key(options_.seed), first_walk},
            {recording, range.first_listed, load, list, changed_link, cumulative.data()});
      });
}

void WalkEngine::Impl::walk_batch(Direction direction, const Walkers& walkers,
                                  const WalkCall& call) const {
  const DirectedGraph& graph = directed(direction);
  const DeviceGraph& device_graph = on_device(direction);
  launch_for_each(
      device_, walkers.num,
      PlaceWalkers{walkers, device_graph.starts(), graph.starts.size(), device_graph.forks()});
  for (const std::uint32_t space : graph.order) {
    for (const DirectedLink& link : graph.spaces[space].links) {
      const ArrivalSpace far_space{link.far_space, device_graph.fork(link.far_space)};
      if (link.wiring() != nullptr) {
        launch_for_each(device_, walkers.num,
                        HopWiring{walkers, link.index, device_graph.wiring(link.index), far_space});
      } else {
        hop(link, far_space, walkers, call);
      }
    }
  }
}

void WalkEngine::Impl::hop(const DirectedLink& link, const ArrivalSpace& far_space,
                           const Walkers& walkers, const WalkCall& call) const {
  const LinkBuffers buffers = call.load(link.index);
  const EdgeView edges = links_.edges(link);
  if (edges.num_edges() == 0) return;
  const std::uint32_t num_entries = TableView::num_entries_of(edges);
  const TableView table{call.cumulative, edges.num_near(), num_entries,
                        links_.by_rows(link.index).edges.near_is_target == edges.near_is_target};
  const std::uint64_t* totals = links_.near_totals(link.index, edges.near_is_target);
  with_weights(
      buffers, links_.measures()[link.index].scale, options_.power, [&](const auto& weights) {
        using MassOf = typename std::decay_t<decltype(weights)>::Mass;
        launch_for_each(device_, table.size(), SumEntries<MassOf>{edges, weights, totals, table});
        const AddUpEntries add_up(table);
        launch(device_, add_up.num_blocks(), add_up);
        launch_for_each(device_, walkers.num,
                        HopEdges<MassOf>{walkers,
                                         link.index,
                                         edges,
                                         weights,
                                         totals,
                                         table,
                                         options_.granularity,
                                         {call.recording,
                                          buffers.visits,
                                          buffers.first_number,
                                          call.first_listed,
                                          {call.list}},
                                         far_space,
                                         call.changed_link});
      });
}

WalkEngine::WalkEngine(Graph graph, const Options& options, Device device)
    : impl_(std::make_unique<Impl>(std::move(graph), options, std::move(device))) {}

WalkEngine::~WalkEngine() = default;
WalkEngine::WalkEngine(WalkEngine&&) noexcept = default;
WalkEngine& WalkEngine::operator=(WalkEngine&&) noexcept = default;

const std::vector<LinkMeasure>& WalkEngine::measure(const Load& load) {
  return impl_->measure(load);
}

Flow WalkEngine::flow(Direction direction, const Load& load) const {
  return impl_->flow(direction, load);
}

std::vector<RateHistogram> WalkEngine::count_rates(const std::vector<std::uint32_t>& links,
                                                   const Flow& forward, const Flow& backward,
                                                   double share, const Load& load) const {
  return impl_->count_rates(links, forward, backward, share, load);
}

void WalkEngine::walk(WalkRange range, Recording recording, const Load& load,
                      std::uint32_t batch_size, const VisitList& list,
                      std::uint64_t* changed_link) const {
  impl_->walk(range, recording, load, batch_size, list, changed_link);
}

}  // namespace phew::cuda
