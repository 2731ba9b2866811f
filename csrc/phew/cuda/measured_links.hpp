// The weighted links of a graph on a device, and the measures of their weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "phew/cuda/device.hpp"
#include "phew/cuda/device_graph.hpp"
#include "phew/cuda/memory.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/graph/graph_view.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew::cuda {

// The edges of a weighted link in the direction in which rows of its weights are near units. The
// flags are in the memory of the device.
struct RowEdges {
  EdgeView edges;
  const std::uint8_t* live_rows;
};

class MeasuredLinks {
 public:
  // The device and the graph must outlive this.
  MeasuredLinks(const Device& device, const Graph& graph, int power)
      : device_(device), graph_(graph), power_(power), live_(device, graph) {}

  // Returns whether all weights are finite. Only then is anything but the ranges measured.
  bool measure(const Load& load);

  const std::vector<LinkMeasure>& measures() const { return measures_; }
  MeasuredGraph graph() const { return {graph_, measures_, power_}; }
  const Device& device() const { return device_; }

  const WeightedLink& weighted(std::uint32_t link) const {
    return std::get<WeightedLink>(graph_.links[link]);
  }

  RowEdges by_rows(std::uint32_t link) const;

  // Returns the edges of a link, with flags in the memory of the device.
  EdgeView edges(const DirectedLink& link) const {
    EdgeView edges = std::get<EdgeView>(link.edges);
    edges.far_live = live_.of(link.far_space);
    return edges;
  }

  // Returns the mass of each near unit's edges, in the memory of the device.
  const std::uint64_t* near_totals(std::uint32_t link, bool near_is_target) const {
    const auto [sources, targets] = totals_of_link_[link];
    return totals_->data() + (near_is_target ? targets : sources);
  }

 private:
  // The totals of a link begin here.
  struct TotalsOfLink {
    std::size_t sources;
    std::size_t targets;
  };

  void measure_ranges(const std::vector<std::uint32_t>& links, const Load& load);
  void sum_totals(const std::vector<std::uint32_t>& links, const Load& load);
  void copy_totals(const std::vector<std::uint32_t>& links);

  const Device& device_;
  const Graph& graph_;
  int power_;
  LiveUnits live_;
  std::vector<LinkMeasure> measures_;
  std::vector<TotalsOfLink> totals_of_link_;
  // The totals of all links, once the weights are measured.
  std::unique_ptr<Buffer<std::uint64_t>> totals_;
};

}  // namespace phew::cuda
