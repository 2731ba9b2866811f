#include "phew/cuda/walk_engine.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "phew/cuda/device_flow.hpp"
#include "phew/cuda/device_graph.hpp"
#include "phew/cuda/flow_bodies.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/measure_bodies.hpp"
#include "phew/cuda/memory.hpp"
#include "phew/cuda/walk_bodies.hpp"
#include "phew/expectation/fork_mass.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew::cuda {

class WalkEngine::Impl {
 public:
  Impl(Graph graph, const Options& options, Device device)
      : device_(std::move(device)),
        graph_(std::move(graph)),
        options_(options),
        forward_(graph_, Direction::kForward),
        backward_(graph_, Direction::kBackward),
        live_(device_, graph_) {
    for (const DirectedGraph* directed : {&forward_, &backward_}) {
      for (const DirectedSpace& space : directed->spaces) {
        for (const DirectedLink& link : space.links) {
          if (const auto* edges = std::get_if<EdgeView>(&link.edges)) {
            most_entries_ =
                std::max(most_entries_, edges->num_near() * TableView::num_entries_of(*edges));
          }
        }
      }
    }
  }

  const std::vector<LinkMeasure>& measure(const Load& load);
  Flow flow(Direction direction, const Load& load) const;
  std::vector<RateHistogram> count_rates(const std::vector<std::uint32_t>& links,
                                         const Flow& forward, const Flow& backward, double share,
                                         const Load& load) const;
  void walk(WalkRange range, Recording recording, const Load& load, std::uint32_t batch_size,
            const VisitList& list) const;

 private:
  // Where the totals of a link begin.
  struct TotalsOfLink {
    std::size_t sources;
    std::size_t targets;
  };

  // The edges of a weighted link in the direction in which rows of its weights are near units. The
  // flags are in the memory of the device.
  struct RowEdges {
    EdgeView edges;
    const std::uint8_t* live_rows;
  };

  // What is recorded, and where.
  struct Record {
    Recording recording;
    std::uint64_t first_listed;
    const Load& load;
    const VisitList& list;
    // Room for the tables of any link.
    std::uint64_t* cumulative;
  };

  EdgeView edges_on_device(const DirectedLink& link) const {
    EdgeView edges = std::get<EdgeView>(link.edges);
    edges.far_live = live_.of(link.far_space);
    return edges;
  }
  RowEdges by_rows(std::uint32_t link) const;
  const WeightedLink& weighted(std::uint32_t link) const {
    return std::get<WeightedLink>(graph_.links[link]);
  }
  MeasuredGraph measured() const { return {graph_, measures_, options_.power}; }

  template <typename MassOf, typename Sums>
  void add_masses(const RowEdges& rows, const LinkWeights<MassOf>& weights,
                  const Sums& sums) const {
    const AddMasses<MassOf, Sums> body{rows.edges, rows.live_rows, weights, sums};
    launch(device_, body.num_blocks(), body);
  }
  // The mass of the edges of each near unit.
  const std::uint64_t* near_totals(std::uint32_t link, bool near_is_target) const {
    const auto [sources, targets] = totals_of_link_[link];
    return totals_->data() + (near_is_target ? targets : sources);
  }
  const DeviceGraph& graph_on_device(const DirectedGraph& directed) const {
    return &directed == &forward_ ? *forward_on_device_ : *backward_on_device_;
  }
  void measure_ranges(const std::vector<std::uint32_t>& links, const Load& load);
  void measure_totals(const std::vector<std::uint32_t>& links, const Load& load);
  void pass_on(const DirectedGraph& directed, std::uint32_t space, const DeviceFlow& flow,
               const FlowWork& work, const Load& load) const;
  void walk_batch(const DirectedGraph& directed, const Walkers& walkers,
                  const Record& record) const;
  void hop(const DirectedLink& link, const ArrivalSpace& far_space, const Walkers& walkers,
           const Record& record) const;

  // Outlives the memory that is asked of it.
  Device device_;
  Graph graph_;
  Options options_;
  DirectedGraph forward_;
  DirectedGraph backward_;
  LiveUnits live_;
  std::vector<LinkMeasure> measures_;
  std::vector<TotalsOfLink> totals_of_link_;
  // Of all links, and what walks read: known once the weights are measured.
  std::unique_ptr<Buffer<std::uint64_t>> totals_;
  std::unique_ptr<DeviceGraph> forward_on_device_;
  std::unique_ptr<DeviceGraph> backward_on_device_;
  // Of the tables of any link.
  std::size_t most_entries_ = 0;
};

WalkEngine::Impl::RowEdges WalkEngine::Impl::by_rows(std::uint32_t link) const {
  const WeightedLink& edges_of = weighted(link);
  const bool rows_are_targets = WeightRows(edges_of, {}).rows_are_targets();
  EdgeView edges =
      view_edges(graph_, edges_of, rows_are_targets ? Direction::kBackward : Direction::kForward);
  edges.far_live = live_.of(rows_are_targets ? edges_of.source : edges_of.target);
  return {edges, live_.of(rows_are_targets ? edges_of.target : edges_of.source)};
}

const std::vector<LinkMeasure>& WalkEngine::Impl::measure(const Load& load) {
  std::vector<std::uint32_t> links;
  for (std::uint32_t link = 0; link < graph_.links.size(); ++link) {
    if (std::holds_alternative<WeightedLink>(graph_.links[link])) links.push_back(link);
  }
  measures_.assign(graph_.links.size(), {});
  measure_ranges(links, load);
  const bool all_finite = std::all_of(measures_.begin(), measures_.end(),
                                      [](const auto& measure) { return measure.range.is_finite; });
  if (!all_finite) return measures_;
  measure_totals(links, load);
  if (options_.fork == ForkRule::kMass) {
    set_fork_masses(forward_, Direction::kForward, measures_);
    set_fork_masses(backward_, Direction::kBackward, measures_);
  }
  forward_on_device_ = std::make_unique<DeviceGraph>(device_, forward_, graph_.links.size());
  backward_on_device_ = std::make_unique<DeviceGraph>(device_, backward_, graph_.links.size());
  return measures_;
}

void WalkEngine::Impl::measure_ranges(const std::vector<std::uint32_t>& links, const Load& load) {
  Buffer<Extremes> extremes(device_, std::vector<Extremes>(links.size()));
  std::vector<DType> dtypes;
  for (std::size_t i = 0; i < links.size(); ++i) {
    const LinkBuffers buffers = load(links[i]);
    dtypes.push_back(buffers.dtype);
    with_format(buffers.dtype, [&](auto format) {
      using Format = decltype(format);
      const MeasureMagnitudes<Format> body{
          by_rows(links[i]).edges, static_cast<const typename Format::Bits*>(buffers.weights),
          extremes.data() + i};
      launch(device_, body.num_blocks(), body);
    });
  }
  const std::vector<Extremes> found = extremes.download();
  for (std::size_t i = 0; i < links.size(); ++i) {
    LinkMeasure& measure = measures_[links[i]];
    measure.range = make_range(found[i], dtypes[i]);
    if (!measure.range.is_finite) continue;
    measure.scale = make_mass_scale(measure.range.smallest, measure.range.largest, options_.power);
  }
}

void WalkEngine::Impl::measure_totals(const std::vector<std::uint32_t>& links, const Load& load) {
  totals_of_link_.assign(graph_.links.size(), {});
  std::size_t size = 0;
  for (const std::uint32_t link : links) {
    totals_of_link_[link].sources = size;
    size += graph_.live[weighted(link).source].size();
    totals_of_link_[link].targets = size;
    size += graph_.live[weighted(link).target].size();
  }
  totals_ = std::make_unique<Buffer<std::uint64_t>>(device_, size);
  totals_->clear();
  for (const std::uint32_t link : links) {
    const LinkBuffers buffers = load(link);
    const RowEdges rows = by_rows(link);
    std::uint64_t* sources = totals_->data() + totals_of_link_[link].sources;
    std::uint64_t* targets = totals_->data() + totals_of_link_[link].targets;
    const SumEdges sums =
        rows.edges.near_is_target ? SumEdges{targets, sources} : SumEdges{sources, targets};
    with_weights(buffers, measures_[link].scale, options_.power,
                 [&](const auto& weights) { add_masses(rows, weights, sums); });
  }
  const std::vector<std::uint64_t> found = totals_->download();
  for (const std::uint32_t link : links) {
    const auto [sources, targets] = totals_of_link_[link];
    const auto* begin = found.data();
    EdgeTotals& totals = measures_[link].totals;
    totals.sources.assign(begin + sources, begin + targets);
    totals.targets.assign(begin + targets,
                          begin + targets + graph_.live[weighted(link).target].size());
  }
}

Flow WalkEngine::Impl::flow(Direction direction, const Load& load) const {
  const DirectedGraph& directed = direction == Direction::kForward ? forward_ : backward_;
  Flow flow = start_flow(directed, graph_.links.size());
  const DeviceFlow on_device(device_, flow);
  const FlowWork work(device_, graph_);
  for (const std::uint32_t space : directed.order) {
    pass_on(directed, space, on_device, work, load);
  }
  on_device.copy_to(flow);
  return flow;
}

// Passes the flow of a space on over its links.
void WalkEngine::Impl::pass_on(const DirectedGraph& directed, std::uint32_t space,
                               const DeviceFlow& flow, const FlowWork& work,
                               const Load& load) const {
  const DeviceGraph& on_device = graph_on_device(directed);
  const auto& [num_units, links, fork] = directed.spaces[space];
  launch_for_each(
      device_, num_units,
      ShareOut{on_device.fork(space), flow.of_space(space), flow.of_links(), flow.link_begins()});
  for (const DirectedLink& link : links) {
    const double* near_flow = flow.of_link(link.index);
    double* far_flow = flow.of_space(link.far_space);
    if (const Wiring* wiring = link.wiring()) {
      const WiringView& view = on_device.wiring(link.index);
      const auto num_groups = static_cast<std::uint32_t>(wiring->begin.size() - 1);
      if (num_groups == 0) continue;
      clear(device_, work.groups.data(), num_groups * sizeof(double));
      launch_for_each(device_, num_units, SumGroups{view, near_flow, work.groups.data()});
      launch_for_each(device_, wiring->members.size(),
                      ShareGroups{view, num_groups, work.groups.data(), far_flow});
      continue;
    }
    const LinkBuffers buffers = load(link.index);
    const RowEdges rows = by_rows(link.index);
    const EdgeView edges = edges_on_device(link);
    launch_for_each(device_, num_units,
                    SplitFlow{edges, near_totals(link.index, edges.near_is_target), near_flow,
                              work.shares.data(), far_flow});
    with_weights(buffers, measures_[link.index].scale, options_.power, [&](const auto& weights) {
      if (rows.edges.near_is_target == edges.near_is_target) {
        add_masses(rows, weights, PassToColumns{work.shares.data(), far_flow});
      } else {
        add_masses(rows, weights, PassToRows{work.shares.data(), far_flow});
      }
    });
  }
}

std::vector<RateHistogram> WalkEngine::Impl::count_rates(const std::vector<std::uint32_t>& links,
                                                         const Flow& forward, const Flow& backward,
                                                         double share, const Load& load) const {
  Buffer<RateBin> bins(device_, links.size() * kNumRateBins);
  bins.clear();
  std::vector<LinkRates> rates;
  std::vector<std::array<std::size_t, 4>> begins;
  PackedArrays shares;
  for (const std::uint32_t link : links) {
    const WeightRows rows(weighted(link), {});
    const LinkRates& of_link = rates.emplace_back(
        make_link_rates(measured(), link, rows, forward, backward, options_.granularity, share));
    begins.push_back({shares.add(of_link.of_rows.by_mass), shares.add(of_link.of_rows.by_number),
                      shares.add(of_link.of_columns.by_mass),
                      shares.add(of_link.of_columns.by_number)});
  }
  shares.copy_to(device_);
  for (std::size_t i = 0; i < links.size(); ++i) {
    const std::uint32_t link = links[i];
    const LinkBuffers buffers = load(link);
    const RowEdges rows = by_rows(link);
    if (rows.edges.num_edges() == 0) continue;
    const std::size_t num_blocks = std::min(rows.edges.num_near(), kMostRateBlocks);
    const auto shares_at = [&](std::size_t first) {
      return DeviceShares{shares.at<double>(begins[i][first]),
                          shares.at<double>(begins[i][first + 1])};
    };
    with_weights(buffers, measures_[link].scale, options_.power, [&](const auto& weights) {
      using MassOf = typename std::decay_t<decltype(weights)>::Mass;
      launch(device_, num_blocks,
             CountRates<MassOf>{rows.edges, rows.live_rows, weights, shares_at(0), shares_at(2),
                                rates[i].sample, rates[i].num_together, num_blocks,
                                bins.data() + i * kNumRateBins});
    });
  }
  const std::vector<RateBin> found = bins.download();
  std::vector<RateHistogram> histograms;
  for (std::size_t i = 0; i < links.size(); ++i) {
    const auto* begin = found.data() + i * kNumRateBins;
    histograms.push_back(make_histogram({begin, begin + kNumRateBins}, rates[i]));
  }
  return histograms;
}

void WalkEngine::Impl::walk(WalkRange range, Recording recording, const Load& load,
                            std::uint32_t batch_size, const VisitList& list) const {
  const std::uint64_t most_of_a_direction = (range.num_walks * range.step + 1) / 2;
  const std::uint64_t most = std::min<std::uint64_t>(most_of_a_direction, batch_size);
  const Buffer<std::uint32_t> units(device_, most);
  const Buffer<std::uint32_t> links(device_, most);
  const Buffer<std::uint64_t> cumulative(device_, most_entries_);
  for_each_batch(
      range, batch_size,
      [&](Direction direction, std::uint64_t first_walk, std::uint32_t num_walkers) {
        const DirectedGraph& directed = direction == Direction::kForward ? forward_ : backward_;
        if (directed.starts.empty()) return;
        walk_batch(directed,
                   {units.data(), links.data(), num_walkers, make_key(options_.seed), first_walk},
                   {recording, range.first_listed, load, list, cumulative.data()});
      });
}

void WalkEngine::Impl::walk_batch(const DirectedGraph& directed, const Walkers& walkers,
                                  const Record& record) const {
  const DeviceGraph& on_device = graph_on_device(directed);
  launch_for_each(
      device_, walkers.num,
      PlaceWalkers{walkers, on_device.starts(), directed.starts.size(), on_device.forks()});
  for (const std::uint32_t space : directed.order) {
    for (const DirectedLink& link : directed.spaces[space].links) {
      const ArrivalSpace far_space{link.far_space, on_device.fork(link.far_space)};
      if (link.wiring() != nullptr) {
        launch_for_each(device_, walkers.num,
                        HopWiring{walkers, link.index, on_device.wiring(link.index), far_space});
      } else {
        hop(link, far_space, walkers, record);
      }
    }
  }
}

void WalkEngine::Impl::hop(const DirectedLink& link, const ArrivalSpace& far_space,
                           const Walkers& walkers, const Record& record) const {
  const LinkBuffers buffers = record.load(link.index);
  const EdgeView edges = edges_on_device(link);
  if (edges.num_edges() == 0) return;
  const std::uint32_t num_entries = TableView::num_entries_of(edges);
  const TableView table{record.cumulative, edges.num_near(), num_entries,
                        by_rows(link.index).edges.near_is_target == edges.near_is_target};
  const std::uint64_t* totals = near_totals(link.index, edges.near_is_target);
  with_weights(buffers, measures_[link.index].scale, options_.power, [&](const auto& weights) {
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
                                     {record.recording, buffers.visits, buffers.first_number,
                                      record.first_listed, record.list},
                                     far_space});
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
                      std::uint32_t batch_size, const VisitList& list) const {
  impl_->walk(range, recording, load, batch_size, list);
}

}  // namespace phew::cuda
