#include "phew/flow.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <variant>

#include "phew/kernels.hpp"
#include "phew/weight_rows.hpp"

namespace phew {
namespace {

using Probabilities = std::vector<double>;

// The flow over a link's near units, split into what goes by mass, per unit of mass, and, where all
// edges are zero, by number, per edge to a live unit.
struct NearShares {
  Probabilities by_mass;
  Probabilities by_number;
};

NearShares split_flow(const Probabilities& flow, const UnitMasses& totals, const EdgeView& edges) {
  NearShares shares{Probabilities(flow.size()), Probabilities(flow.size())};
  for (std::uint32_t unit = 0; unit < flow.size(); ++unit) {
    if (flow[unit] == 0) continue;
    if (totals[unit] > 0) {
      shares.by_mass[unit] = flow[unit] / static_cast<double>(totals[unit]);
      continue;
    }
    const std::uint8_t* live = edges.far_live + edges.first_far(unit);
    const auto num_live = std::count(live, live + edges.far_per_group, 1);
    shares.by_number[unit] = flow[unit] / static_cast<double>(num_live * edges.num_positions);
  }
  return shares;
}

// Passes the flow of a weighted link on to its far units.
class LinkPass {
 public:
  LinkPass(Workers& workers, const WeightRows& rows, const LiveRows& live,
           const MassConverter& convert, const EdgeView& edges)
      : workers_(workers), rows_(rows), live_(live), convert_(convert), edges_(edges) {}

  void run(const Probabilities& flow, const UnitMasses& totals, Probabilities& far) {
    const NearShares shares = split_flow(flow, totals, edges_);
    if (rows_.rows_are_targets() == edges_.near_is_target) {
      add_by_row(shares.by_mass, far);
    } else {
      add_by_column(shares.by_mass, far);
    }
    add_equally(shares.by_number, far);
  }

 private:
  void add_by_row(const Probabilities& shares, Probabilities& far) {
    std::vector<Probabilities> far_by_thread(workers_.size(), Probabilities(far.size()));
    for_each_mass(workers_, rows_, live_, convert_, 1,
                  [&](unsigned thread, std::size_t row, std::size_t column, std::size_t num_columns,
                      const std::uint32_t* masses) {
                    kernels().add_scaled(masses, rows_.num_positions(), num_columns, shares[row],
                                         &far_by_thread[thread][column]);
                  });
    for (const Probabilities& part : far_by_thread) {
      for (std::size_t unit = 0; unit < far.size(); ++unit) far[unit] += part[unit];
    }
  }

  void add_by_column(const Probabilities& shares, Probabilities& far) {
    for_each_mass(workers_, rows_, live_, convert_, 1,
                  [&](unsigned, std::size_t row, std::size_t column, std::size_t num_columns,
                      const std::uint32_t* masses) {
                    far[row] += kernels().sum_scaled(masses, rows_.num_positions(), num_columns,
                                                     &shares[column]);
                  });
  }

  void add_equally(const Probabilities& shares, Probabilities& far) {
    for (std::uint32_t group = 0; group < edges_.num_groups; ++group) {
      double share = 0;
      for (std::uint32_t i = 0; i < edges_.near_per_group; ++i) {
        share += shares[group * edges_.near_per_group + i];
      }
      if (share == 0) continue;
      for (std::uint32_t i = 0; i < edges_.far_per_group; ++i) {
        const std::size_t unit = std::size_t{group} * edges_.far_per_group + i;
        if (edges_.far_live[unit]) far[unit] += share * edges_.num_positions;
      }
    }
  }

  Workers& workers_;
  const WeightRows& rows_;
  const LiveRows& live_;
  const MassConverter& convert_;
  const EdgeView& edges_;
};

void pass_wiring(const Wiring& wiring, const Probabilities& flow, Probabilities& far) {
  Probabilities of_groups(wiring.begin.size() - 1);
  for (std::size_t unit = 0; unit < flow.size(); ++unit) {
    const std::int32_t group = wiring.near_groups[unit];
    if (group >= 0) of_groups[static_cast<std::size_t>(group)] += flow[unit];
  }
  for (std::size_t group = 0; group < of_groups.size(); ++group) {
    const std::uint32_t num_members = wiring.begin[group + 1] - wiring.begin[group];
    for (std::uint32_t i = wiring.begin[group]; i < wiring.begin[group + 1]; ++i) {
      far[wiring.members[i]] += of_groups[group] / num_members;
    }
  }
}

// Shares the flow of each unit of a space out among its links.
void pass_fork(const DirectedSpace& space, const Probabilities& units, Flow& flow) {
  for (const DirectedLink& link : space.links) flow.links[link.index].resize(space.num_units);
  const Fork& fork = space.fork;
  for (std::uint32_t unit = 0; unit < space.num_units; ++unit) {
    const std::uint32_t begin = fork.begin[unit];
    const std::uint32_t end = fork.begin[unit + 1];
    for (std::uint32_t i = begin; i < end; ++i) {
      const std::uint64_t mass = fork.cumulative[i] - (i > begin ? fork.cumulative[i - 1] : 0);
      flow.links[space.links[fork.links[i]].index][unit] =
          units[unit] * static_cast<double>(mass) / static_cast<double>(fork.cumulative[end - 1]);
    }
  }
}

// The bin of a rate is its exponent as float32 with the first bits of its fraction. Bin 0 is of
// what is never visited.
constexpr int kRateShift = 19;
constexpr std::size_t kNumRateBins = (0x3F80'0000 >> kRateShift) + 1;

struct RateBin {
  double num_weights;
  double sum_of_rates;
};
using RateBins = std::vector<RateBin>;

std::size_t bin_of_rate(double rate) {
  const auto value = static_cast<float>(std::min(rate, 1.0));
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> kRateShift;
}

}  // namespace

Flow compute_flow(Workers& workers, const MeasuredGraph& measured, const DirectedGraph& directed,
                  const Load& load) {
  Flow flow{{}, std::vector<Probabilities>(measured.graph.links.size())};
  for (const DirectedSpace& space : directed.spaces) flow.units.emplace_back(space.num_units);
  for (const Start& start : directed.starts) {
    flow.units[start.space][start.unit] += 1.0 / static_cast<double>(directed.starts.size());
  }
  for (const std::uint32_t index : directed.order) {
    const DirectedSpace& space = directed.spaces[index];
    pass_fork(space, flow.units[index], flow);
    for (const DirectedLink& link : space.links) {
      Probabilities& far = flow.units[link.far_space];
      if (const auto* wiring = std::get_if<Wiring>(&link.edges)) {
        pass_wiring(*wiring, flow.links[link.index], far);
        continue;
      }
      const auto& weighted = std::get<WeightedLink>(measured.graph.links[link.index]);
      const auto& edges = std::get<EdgeView>(link.edges);
      const LinkMeasure& measure = measured.measures[link.index];
      const LinkBuffers buffers = load(link.index);
      const WeightRows rows(weighted, buffers);
      const LiveRows live(rows, measured.graph.live[weighted.source],
                          measured.graph.live[weighted.target]);
      const MassConverter convert(buffers.dtype, measured.power, measure.scale);
      LinkPass(workers, rows, live, convert, edges)
          .run(flow.links[link.index],
               edges.near_is_target ? measure.totals.targets : measure.totals.sources, far);
    }
  }
  return flow;
}

RateHistogram count_rates(Workers& workers, const MeasuredGraph& measured, std::uint32_t index,
                          const Flow& forward, const Flow& backward, Granularity granularity,
                          double share, const LinkBuffers& buffers) {
  const auto& link = std::get<WeightedLink>(measured.graph.links[index]);
  const LinkMeasure& measure = measured.measures[index];
  const WeightRows rows(link, buffers);
  const LiveRows live(rows, measured.graph.live[link.source], measured.graph.live[link.target]);
  const auto shares = [&](Direction direction) {
    const bool is_forward = direction == Direction::kForward;
    return split_flow((is_forward ? forward : backward).links[index],
                      is_forward ? measure.totals.sources : measure.totals.targets,
                      view_edges(measured.graph, link, direction));
  };
  NearShares of_rows = shares(Direction::kForward);
  NearShares of_columns = shares(Direction::kBackward);
  if (rows.rows_are_targets()) std::swap(of_rows, of_columns);
  constexpr double kFewestRows = 32;
  const double num_rows = static_cast<double>(rows.num_groups()) * rows.num_rows();
  const auto every =
      static_cast<std::size_t>(std::max(1.0, num_rows / std::max(kFewestRows, share * num_rows)));
  std::vector<RateBins> bins(workers.size(), RateBins(kNumRateBins));
  // The weights that have a rate of their own: one, or those of a kernel.
  const std::uint32_t num_together = granularity == Granularity::kKernel ? rows.num_positions() : 1;
  const std::uint32_t num_kinds = rows.num_positions() / std::max(num_together, 1U);
  for_each_mass(workers, rows, live, MassConverter(buffers.dtype, measured.power, measure.scale),
                every,
                [&](unsigned thread, std::size_t row, std::size_t first, std::size_t num_columns,
                    const std::uint32_t* masses) {
                  RateBins& found = bins[thread];
                  for (std::size_t column = first; column < first + num_columns; ++column) {
                    if (!live.columns[column]) {
                      masses += rows.num_positions();
                      continue;
                    }
                    // A walk is forward or backward with probability 1/2.
                    const double by_mass = (of_rows.by_mass[row] + of_columns.by_mass[column]) / 2;
                    const double by_number =
                        (of_rows.by_number[row] + of_columns.by_number[column]) / 2 * num_together;
                    for (std::uint32_t i = 0; i < num_kinds; ++i) {
                      std::uint64_t mass = 0;
                      for (std::uint32_t k = 0; k < num_together; ++k) mass += *masses++;
                      const double rate = static_cast<double>(mass) * by_mass + by_number;
                      RateBin& bin = found[bin_of_rate(rate)];
                      bin.num_weights += num_together;
                      bin.sum_of_rates += rate * num_together;
                    }
                  }
                });
  const double rows_per_seen = num_rows / std::ceil(num_rows / static_cast<double>(every));
  RateHistogram histogram;
  for (std::size_t i = 1; i < kNumRateBins; ++i) {
    RateBin all{};
    for (const RateBins& part : bins) {
      all.num_weights += part[i].num_weights;
      all.sum_of_rates += part[i].sum_of_rates;
    }
    if (all.num_weights == 0) continue;
    histogram.rates.push_back(all.sum_of_rates / all.num_weights);
    histogram.numbers.push_back(all.num_weights * rows_per_seen);
  }
  return histogram;
}

}  // namespace phew
