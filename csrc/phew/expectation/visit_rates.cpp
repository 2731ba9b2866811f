#include "phew/expectation/visit_rates.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <variant>

namespace phew {
namespace {

double sum(const Probabilities& flow) { return std::accumulate(flow.begin(), flow.end(), 0.0); }

}  // namespace

LinkRates make_link_rates(const MeasuredGraph& measured, std::uint32_t index,
                          const WeightRows& rows, const Flow& forward, const Flow& backward,
                          Granularity granularity, double share) {
  const auto& link = std::get<WeightedLink>(measured.graph.links[index]);
  const EdgeTotals& totals = measured.measures[index].totals;
  LinkRates rates{};
  rates.of_rows = split_flow(forward.links[index], totals.sources,
                             view_edges(measured.graph, link, Direction::kForward));
  rates.of_columns = split_flow(backward.links[index], totals.targets,
                                view_edges(measured.graph, link, Direction::kBackward));
  if (rows.rows_are_targets()) std::swap(rates.of_rows, rates.of_columns);
  constexpr double kFewestWeights = 16'384;
  const std::size_t num_rows = std::size_t{rows.num_groups()} * rows.num_rows();
  const std::size_t num_columns = rows.num_columns();
  const auto num_weights = static_cast<double>(num_rows * num_columns * rows.num_positions());
  rates.sample.every = static_cast<std::size_t>(
      std::max(1.0, num_weights / std::max(kFewestWeights, share * num_weights)));
  std::size_t num_seen = 0;
  for (std::size_t row = 0; row < num_rows; ++row) {
    num_seen += rates.sample.num_columns(row, num_columns);
  }
  rates.weights_per_seen =
      static_cast<double>(num_rows * num_columns) / static_cast<double>(num_seen);
  rates.num_together = granularity == Granularity::kKernel ? rows.num_positions() : 1;
  // A walk is forward or backward with probability 1/2.
  rates.total = (sum(forward.links[index]) + sum(backward.links[index])) / 2 * rates.num_together;
  return rates;
}

RateHistogram make_histogram(const std::vector<RateBin>& bins, const LinkRates& rates) {
  double total = 0;
  for (const RateBin& bin : bins) total += bin.sum_of_rates * rates.weights_per_seen;
  // What the sample has too much or too little, by chance. Where that is much, a few weights have
  // most of what is visited, and the others are no measure of them.
  double excess = total / rates.total;
  if (!(excess > 0.5 && excess < 2)) excess = 1;
  RateHistogram histogram;
  for (std::size_t i = 1; i < kNumRateBins; ++i) {
    if (bins[i].num_weights == 0) continue;
    histogram.rates.push_back(bins[i].sum_of_rates / bins[i].num_weights / excess);
    histogram.numbers.push_back(bins[i].num_weights * rates.weights_per_seen);
  }
  return histogram;
}

RateHistogram count_rates(Workers& workers, const MeasuredGraph& measured, std::uint32_t index,
                          const Flow& forward, const Flow& backward, Granularity granularity,
                          double share, const LinkBuffers& buffers) {
  const auto& link = std::get<WeightedLink>(measured.graph.links[index]);
  const WeightRows rows(link, buffers);
  const LiveRows live(rows, measured.graph.live[link.source], measured.graph.live[link.target]);
  const LinkRates rates =
      make_link_rates(measured, index, rows, forward, backward, granularity, share);
  const NearShares& of_rows = rates.of_rows;
  const NearShares& of_columns = rates.of_columns;
  const std::uint32_t num_together = rates.num_together;
  const std::uint32_t num_kinds = rows.num_positions() / std::max(num_together, 1U);
  std::vector<std::vector<RateBin>> bins(workers.size(), std::vector<RateBin>(kNumRateBins));
  for_each_mass(workers, rows, live,
                MassConverter(buffers.dtype, measured.power, measured.measures[index].scale),
                rates.sample,
                [&](unsigned thread, std::size_t row, std::size_t first, std::size_t num_columns,
                    const std::uint32_t* masses) {
                  std::vector<RateBin>& found = bins[thread];
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
  std::vector<RateBin> all(kNumRateBins);
  for (const std::vector<RateBin>& part : bins) {
    for (std::size_t i = 0; i < kNumRateBins; ++i) {
      all[i].num_weights += part[i].num_weights;
      all[i].sum_of_rates += part[i].sum_of_rates;
    }
  }
  return make_histogram(all, rates);
}

}  // namespace phew
