#include "phew/cuda/expectation.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "phew/cuda/device_flow.hpp"
#include "phew/cuda/flow_bodies.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/cuda/measure_bodies.hpp"
#include "phew/cuda/memory.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew::cuda {
namespace {

void pass_wiring(const Device& device, const Wiring& wiring, const WiringView& view,
                 const double* near_flow, double* far_flow, const FlowWork& work) {
  const auto num_groups = static_cast<std::uint32_t>(wiring.begin.size() - 1);
  if (num_groups == 0) return;
  clear(device, work.groups.data(), num_groups * sizeof(double));
  launch_for_each(device, wiring.near_groups.size(),
                  SumGroups{view, near_flow, work.groups.data()});
  launch_for_each(device, wiring.members.size(),
                  ShareGroups{view, num_groups, work.groups.data(), far_flow});
}

void pass_weighted(const MeasuredLinks& measured, const DirectedLink& link,
                   const LinkBuffers& buffers, const double* near_flow, double* far_flow,
                   const FlowWork& work) {
  const Device& device = measured.device();
  const MeasuredGraph graph = measured.graph();
  const RowEdges rows = measured.by_rows(link.index);
  const EdgeView edges = measured.edges(link);
  const MassScale& scale = graph.measures[link.index].scale;
  with_weights(buffers, scale, graph.power, [&](const auto& weights) {
    using MassOf = typename std::decay_t<decltype(weights)>::Mass;
    launch_for_each(
        device, edges.num_near(),
        SplitFlow<MassOf>{edges, weights, measured.near_totals(link.index, edges.near_is_target),
                          near_flow, work.shares.data(), far_flow});
    if (rows.edges.near_is_target == edges.near_is_target) {
      launch_add_masses(device, rows.edges, rows.live_rows, weights,
                        PassToColumns{work.shares.data(), far_flow});
    } else {
      launch_add_masses(device, rows.edges, rows.live_rows, weights,
                        PassToRows{work.shares.data(), far_flow});
    }
  });
}

// Packed in one array on the device: per link, its row shares and its column shares.
class PackedShares {
 public:
  explicit PackedShares(const std::vector<LinkRates>& rates, const Device& device) {
    for (const LinkRates& of_link : rates) {
      begins_.push_back({add(of_link.row_shares), add(of_link.column_shares)});
    }
    arrays_.copy_to(device);
  }

  NearSharesView row_shares(std::size_t i) const { return at(begins_[i][0]); }
  NearSharesView column_shares(std::size_t i) const { return at(begins_[i][1]); }

 private:
  using Begins = std::array<std::size_t, 2>;

  Begins add(const NearShares& shares) {
    const std::size_t per_mass = arrays_.add(shares.per_mass);
    return {per_mass, arrays_.add(shares.per_edge)};
  }

  NearSharesView at(const Begins& begins) const {
    return {arrays_.at<double>(begins[0]), arrays_.at<double>(begins[1])};
  }

  PackedArrays arrays_;
  std::vector<std::array<Begins, 2>> begins_;
};

}  // namespace

Flow compute_flow(const MeasuredLinks& measured, const DirectedGraph& directed,
                  const DeviceGraph& on_device, const Load& load) {
  const Device& device = measured.device();
  const Graph& graph = measured.graph().graph;
  Flow flow = start_flow(directed, graph.links.size());
  const DeviceFlow device_flow(device, flow);
  const FlowWork work(device, graph);
  for (const std::uint32_t index : directed.order) {
    const DirectedSpace& space = directed.spaces[index];
    launch_for_each(device, space.num_units,
                    ShareOut{on_device.fork(index), device_flow.of_space(index),
                             device_flow.of_links(), device_flow.link_begins()});
    for (const DirectedLink& link : space.links) {
      const double* near_flow = device_flow.of_link(link.index);
      double* far_flow = device_flow.of_space(link.far_space);
      if (const Wiring* wiring = link.wiring()) {
        pass_wiring(device, *wiring, on_device.wiring(link.index), near_flow, far_flow, work);
      } else {
        pass_weighted(measured, link, load(link.index), near_flow, far_flow, work);
      }
    }
  }
  device_flow.copy_to(flow);
  return flow;
}

std::vector<RateHistogram> count_rates(const MeasuredLinks& measured,
                                       const std::vector<std::uint32_t>& links, const Flow& forward,
                                       const Flow& backward, Granularity granularity, double share,
                                       const Load& load) {
  const Device& device = measured.device();
  const MeasuredGraph graph = measured.graph();
  Buffer<RateBin> bins(device, links.size() * kNumRateBins);
  bins.clear();
  std::vector<LinkRates> rates;
  for (const std::uint32_t link : links) {
    const WeightRows rows(measured.weighted(link), {});
    rates.push_back(make_link_rates(graph, link, rows, forward, backward, granularity, share));
  }
  const PackedShares shares(rates, device);
  for (std::size_t i = 0; i < links.size(); ++i) {
    const LinkBuffers buffers = load(links[i]);
    const RowEdges rows = measured.by_rows(links[i]);
    if (rows.edges.num_edges() == 0) continue;
    const std::size_t num_blocks = std::min(rows.edges.num_near(), kMostRateBlocks);
    const MassScale& scale = graph.measures[links[i]].scale;
    with_weights(buffers, scale, graph.power, [&](const auto& weights) {
      using MassOf = typename std::decay_t<decltype(weights)>::Mass;
      launch(device, num_blocks,
             CountRates<MassOf>{rows.edges, rows.live_rows, weights, shares.row_shares(i),
                                shares.column_shares(i), rates[i].sample, rates[i].weights_per_rate,
                                num_blocks, bins.data() + i * kNumRateBins});
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

}  // namespace phew::cuda
