// The bodies that pass the flow on through forks, weighted links and wirings (see flow.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/arithmetic/macros.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/graph/graph_view.hpp"

namespace phew::cuda {

// For each unit of a space: shares its flow out among its links.
struct ShareOut {
  // Its links are indices of the graph's links.
  ForkView fork;
  const double* flow;
  // The flows of all links, and per link where its own begin.
  double* link_flows;
  const std::size_t* link_begins;

  PHEW_HOST_DEVICE void operator()(std::size_t unit) const {
    for (std::uint32_t i = fork.begin[unit]; i < fork.begin[unit + 1]; ++i) {
      link_flows[link_begins[fork.links[i]] + unit] = fork.link_share(unit, i, flow[unit]);
    }
  }
};

// For each near unit of a weighted link: turns its flow into its share per unit of mass. If all of
// its edges are zero, passes the flow on evenly instead.
template <typename MassOf>
struct SplitFlow {
  EdgeView edges;
  LinkWeights<MassOf> weights;
  // The mass of each near unit's edges.
  const std::uint64_t* totals;
  const double* flow;
  double* shares;
  double* far_flow;

  PHEW_HOST_DEVICE void operator()(std::size_t unit) const {
    const bool has_mass = totals[unit] > 0;
    shares[unit] = has_mass ? flow[unit] / static_cast<double>(totals[unit]) : 0;
    if (has_mass || flow[unit] == 0) return;
    const auto near = static_cast<std::uint32_t>(unit);
    const std::uint32_t first = edges.first_far(near);
    std::uint64_t num_edges = 0;
    for (std::uint32_t i = 0; i < edges.far_per_group; ++i) num_edges += count_edges(near, i);
    const double share = flow[unit] / static_cast<double>(num_edges);
    for (std::uint32_t i = 0; i < edges.far_per_group; ++i) {
      const std::uint32_t num_here = count_edges(near, i);
      if (num_here > 0) atomic_add(far_flow + first + i, share * num_here);
    }
  }

 private:
  // Counts the edges to a far unit of the group, none to a dead one.
  PHEW_HOST_DEVICE std::uint32_t count_edges(std::uint32_t near, std::uint32_t far) const {
    if (!edges.far_live[edges.first_far(near) + far]) return 0;
    if constexpr (!kHasAbsent<MassOf>) return edges.num_positions;
    const std::int64_t kernel = edges.first_element(near) + far * edges.far_stride;
    std::uint32_t num_edges = 0;
    for (std::uint32_t k = 0; k < edges.num_positions; ++k) {
      num_edges += weights.is_edge(kernel + k * edges.position_stride);
    }
    return num_edges;
  }
};

// For each near unit of a wiring: adds its flow to its group.
struct SumGroups {
  WiringView wiring;
  const double* flow;
  double* groups;

  PHEW_HOST_DEVICE void operator()(std::size_t unit) const {
    const std::int32_t group = wiring.near_groups[unit];
    if (group >= 0) atomic_add(groups + group, flow[unit]);
  }
};

// For each member of a wiring: adds its share of its group's flow.
struct ShareGroups {
  WiringView wiring;
  std::uint32_t num_groups;
  const double* groups;
  double* far_flow;

  PHEW_HOST_DEVICE void operator()(std::size_t i) const {
    // The last group that begins at or before i.
    std::uint32_t group = 0;
    for (std::uint32_t size = num_groups; size > 1;) {
      const std::uint32_t half = size / 2;
      if (wiring.begin[group + half] <= i) group += half;
      size -= half;
    }
    far_flow[wiring.members[i]] += wiring.member_share(group, groups[group]);
  }
};

}  // namespace phew::cuda
