#include "phew/expectation/flow.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <variant>

#include "phew/loops/loops.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {
namespace {

// Adds to each live far unit the shares of its near units, one share per edge.
void pass_per_edge(const EdgeView& edges, const Probabilities& shares, Probabilities& far) {
  for (std::uint32_t group = 0; group < edges.num_groups; ++group) {
    double share = 0;
    for (std::uint32_t i = 0; i < edges.near_per_group; ++i) {
      share += shares[group * edges.near_per_group + i];
    }
    if (share == 0) continue;
    for (std::uint32_t i = 0; i < edges.far_per_group; ++i) {
      const std::size_t unit = std::size_t{group} * edges.far_per_group + i;
      if (edges.far_live[unit]) far[unit] += share * edges.num_positions;
    }
  }
}

void pass_wiring(const Wiring& wiring, const Probabilities& flow, Probabilities& far) {
  const WiringView view = wiring.view();
  Probabilities group_flows(wiring.begin.size() - 1);
  for (std::size_t unit = 0; unit < flow.size(); ++unit) {
    const std::int32_t group = wiring.near_groups[unit];
    if (group >= 0) group_flows[static_cast<std::size_t>(group)] += flow[unit];
  }
  for (std::size_t group = 0; group < group_flows.size(); ++group) {
    for (std::uint32_t i = wiring.begin[group]; i < wiring.begin[group + 1]; ++i) {
      far[wiring.members[i]] += view.member_share(group, group_flows[group]);
    }
  }
}

// Shares the flow of each unit of a space out among its links.
void pass_fork(const DirectedSpace& space, const Probabilities& units, Flow& flow) {
  const ForkView fork = space.fork->view();
  for (std::uint32_t unit = 0; unit < space.num_units; ++unit) {
    for (std::uint32_t i = fork.begin[unit]; i < fork.begin[unit + 1]; ++i) {
      flow.links[space.links[fork.links[i]].index][unit] = fork.link_share(unit, i, units[unit]);
    }
  }
}

// Adds, to each far unit of a weighted link, the masses of its edges times the shares of their near
// units.
void pass_per_mass(Workers& workers, const MeasuredGraph& measured, std::uint32_t link,
                   const EdgeView& edges, const LinkBuffers& buffers, const MassConverter& convert,
                   const Probabilities& shares, Probabilities& far) {
  const auto& weighted = std::get<WeightedLink>(measured.graph.links[link]);
  const WeightRows rows(weighted, buffers);
  const LiveRows live(rows, measured.graph.live[weighted.source],
                      measured.graph.live[weighted.target]);
  if (rows.rows_are_targets() != edges.near_is_target) {
    for_each_mass(workers, rows, live, convert, {},
                  [&](unsigned, std::size_t row, std::size_t column, std::size_t num_columns,
                      const std::uint32_t* masses) {
                    far[row] += loops().sum_scaled(masses, rows.num_positions(), num_columns,
                                                   &shares[column]);
                  });
    return;
  }
  const unsigned num_threads = num_threads_by_columns(workers, rows);
  std::vector<Probabilities> far_by_thread(num_threads, Probabilities(far.size()));
  for_each_mass(
      workers, rows, live, convert, {},
      [&](unsigned thread, std::size_t row, std::size_t column, std::size_t num_columns,
          const std::uint32_t* masses) {
        loops().add_scaled(masses, rows.num_positions(), num_columns, shares[row],
                           &far_by_thread[thread][column]);
      },
      num_threads);
  for (const Probabilities& part : far_by_thread) {
    for (std::size_t unit = 0; unit < far.size(); ++unit) far[unit] += part[unit];
  }
}

}  // namespace

NearShares split_flow(const Probabilities& flow, const UnitMasses& totals, const EdgeView& edges,
                      const std::vector<std::uint32_t>& degrees) {
  NearShares shares{Probabilities(flow.size()), Probabilities(flow.size())};
  for (std::uint32_t unit = 0; unit < flow.size(); ++unit) {
    if (flow[unit] == 0) continue;
    if (totals[unit] > 0) {
      shares.per_mass[unit] = flow[unit] / static_cast<double>(totals[unit]);
      continue;
    }
    if (!degrees.empty()) {
      shares.per_edge[unit] = flow[unit] / degrees[unit];
      continue;
    }
    const std::uint8_t* live = edges.far_live + edges.first_far(unit);
    const auto num_live = std::count(live, live + edges.far_per_group, 1);
    shares.per_edge[unit] = flow[unit] / static_cast<double>(num_live * edges.num_positions);
  }
  return shares;
}

Flow start_flow(const DirectedGraph& directed, std::size_t num_links) {
  Flow flow{{}, std::vector<Probabilities>(num_links)};
  for (const DirectedSpace& space : directed.spaces) {
    flow.units.emplace_back(space.num_units);
    for (const DirectedLink& link : space.links) flow.links[link.index].resize(space.num_units);
  }
  for (const Start& start : directed.starts) {
    flow.units[start.space][start.unit] += 1.0 / static_cast<double>(directed.starts.size());
  }
  return flow;
}

Flow compute_flow(Workers& workers, const MeasuredGraph& measured, const DirectedGraph& directed,
                  const Load& load) {
  Flow flow = start_flow(directed, measured.graph.links.size());
  for (const std::uint32_t index : directed.order) {
    const DirectedSpace& space = directed.spaces[index];
    pass_fork(space, flow.units[index], flow);
    for (const DirectedLink& link : space.links) {
      Probabilities& far = flow.units[link.far_space];
      if (const Wiring* wiring = link.wiring()) {
        pass_wiring(*wiring, flow.links[link.index], far);
        continue;
      }
      const auto& edges = std::get<EdgeView>(link.edges);
      const EdgeTotals& totals = measured.measures[link.index].totals;
      const auto& weighted = std::get<WeightedLink>(measured.graph.links[link.index]);
      const NearShares shares =
          split_flow(flow.links[link.index], edges.near_is_target ? totals.targets : totals.sources,
                     edges, weighted.degrees(edges.near_is_target));
      const LinkBuffers buffers = load(link.index);
      pass_per_mass(workers, measured, link.index, edges, buffers,
                    MassConverter(buffers, measured.power, measured.measures[link.index].scale),
                    shares.per_mass, far);
      if (buffers.has_absent) {
        pass_per_mass(workers, measured, link.index, edges, buffers, MassConverter::equal(buffers),
                      shares.per_edge, far);
      } else {
        pass_per_edge(edges, shares.per_edge, far);
      }
    }
  }
  return flow;
}

}  // namespace phew
