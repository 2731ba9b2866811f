// Kernels that pass the flow on through forks, weighted links and wirings (see flow.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/cuda/launch.hpp"
#include "phew/graph_view.hpp"
#include "phew/macros.hpp"

namespace phew::cuda {

// Shares the flow of each unit of a space out among its links: a thread a unit.
struct ShareOut {
  using Shared = NothingShared;
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 1; }

  // Its links are indices of the graph's links.
  ForkView fork;
  std::size_t num_units;
  const double* flow;
  // Of all links, and where those of each link begin.
  double* link_flows;
  const std::size_t* link_begins;

  PHEW_HOST_DEVICE void operator()(unsigned /*phase*/, unsigned thread, std::size_t block,
                                   Shared& /*shared*/) const {
    const std::size_t unit = block * kNumThreads + thread;
    if (unit >= num_units) return;
    const std::uint32_t begin = fork.begin[unit];
    const std::uint32_t end = fork.begin[unit + 1];
    for (std::uint32_t i = begin; i < end; ++i) {
      const std::uint64_t mass = fork.cumulative[i] - (i > begin ? fork.cumulative[i - 1] : 0);
      link_flows[link_begins[fork.links[i]] + unit] =
          flow[unit] * static_cast<double>(mass) / static_cast<double>(fork.cumulative[end - 1]);
    }
  }
};

// Turns the flow over each near unit of a weighted link into its share a unit of mass; where all of
// its edges are zero, passes it on evenly instead. A thread a unit.
struct SplitFlow {
  using Shared = NothingShared;
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 1; }

  EdgeView edges;
  // The mass of each near unit's edges.
  const std::uint64_t* totals;
  const double* flow;
  double* shares;
  double* far_flow;

  PHEW_HOST_DEVICE void operator()(unsigned /*phase*/, unsigned thread, std::size_t block,
                                   Shared& /*shared*/) const {
    const std::size_t unit = block * kNumThreads + thread;
    if (unit >= edges.num_near()) return;
    const bool has_mass = totals[unit] > 0;
    shares[unit] = has_mass ? flow[unit] / static_cast<double>(totals[unit]) : 0;
    if (has_mass || flow[unit] == 0) return;
    const std::uint32_t first = edges.first_far(static_cast<std::uint32_t>(unit));
    std::uint32_t num_live = 0;
    for (std::uint32_t i = 0; i < edges.far_per_group; ++i) num_live += edges.far_live[first + i];
    for (std::uint32_t i = 0; i < edges.far_per_group; ++i) {
      if (edges.far_live[first + i]) atomic_add(far_flow + first + i, flow[unit] / num_live);
    }
  }
};

// Adds the flow over each near unit of a wiring to its group: a thread a unit.
struct SumGroups {
  using Shared = NothingShared;
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 1; }

  WiringView wiring;
  std::size_t num_near;
  const double* flow;
  double* groups;

  PHEW_HOST_DEVICE void operator()(unsigned /*phase*/, unsigned thread, std::size_t block,
                                   Shared& /*shared*/) const {
    const std::size_t unit = block * kNumThreads + thread;
    if (unit >= num_near || wiring.near_groups[unit] < 0) return;
    atomic_add(groups + wiring.near_groups[unit], flow[unit]);
  }
};

// Shares the flow of each group out among its members: a thread a member.
struct ShareGroups {
  using Shared = NothingShared;
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 1; }

  WiringView wiring;
  std::uint32_t num_groups;
  const double* groups;
  double* far_flow;

  PHEW_HOST_DEVICE void operator()(unsigned /*phase*/, unsigned thread, std::size_t block,
                                   Shared& /*shared*/) const {
    const std::size_t i = block * kNumThreads + thread;
    if (i >= wiring.begin[num_groups]) return;
    // The last group that begins at or before i.
    std::uint32_t group = 0;
    for (std::uint32_t size = num_groups; size > 1;) {
      const std::uint32_t half = size / 2;
      if (wiring.begin[group + half] <= i) group += half;
      size -= half;
    }
    far_flow[wiring.members[i]] += groups[group] / (wiring.begin[group + 1] - wiring.begin[group]);
  }
};

}  // namespace phew::cuda
