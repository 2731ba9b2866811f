#include "phew/expectation/visit_rates.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <variant>

#include "phew/weights/masses.hpp"

namespace phew {
namespace {

double sum(const Probabilities& flow) { return std::accumulate(flow.begin(), flow.end(), 0.0); }

NearSharesView view(const NearShares& shares) {
  return {shares.per_mass.data(), shares.per_edge.data()};
}

using RateBins = std::vector<RateBin>;

// Returns the mass and the number of the edges that are not absent.
std::pair<std::uint64_t, std::uint32_t> sum_edges(const std::uint32_t* masses, std::uint32_t size) {
  std::uint64_t mass = 0;
  std::uint32_t num_edges = 0;
  for (std::uint32_t i = 0; i < size; ++i) {
    if (masses[i] == kNoMass) continue;
    mass += masses[i];
    ++num_edges;
  }
  return {mass, num_edges};
}

RateBins add_up(const std::vector<RateBins>& parts) {
  RateBins all(kNumRateBins);
  for (const RateBins& part : parts) {
    for (std::size_t i = 0; i < kNumRateBins; ++i) {
      all[i].num_weights += part[i].num_weights;
      all[i].sum_of_rates += part[i].sum_of_rates;
    }
  }
  return all;
}

}  // namespace

LinkRates make_link_rates(const MeasuredGraph& measured, std::uint32_t index,
                          const WeightRows& rows, const Flow& forward, const Flow& backward,
                          Granularity granularity, double share) {
  const auto& link = std::get<WeightedLink>(measured.graph.links[index]);
  const EdgeTotals& totals = measured.measures[index].totals;
  LinkRates rates{};
  rates.row_shares =
      split_flow(forward.links[index], totals.sources,
                 view_edges(measured.graph, link, Direction::kForward), link.source_degrees);
  rates.column_shares =
      split_flow(backward.links[index], totals.targets,
                 view_edges(measured.graph, link, Direction::kBackward), link.target_degrees);
  if (rows.rows_are_targets()) std::swap(rates.row_shares, rates.column_shares);
  constexpr double kFewestWeights = 16'384;
  const std::size_t num_rows = std::size_t{rows.num_groups()} * rows.num_rows();
  const std::size_t num_columns = rows.num_columns();
  const auto num_weights = static_cast<double>(num_rows * num_columns * rows.num_positions());
  rates.sample.every = static_cast<std::size_t>(
      std::max(1.0, num_weights / std::max(kFewestWeights, share * num_weights)));
  std::size_t num_sampled = 0;
  for (std::size_t row = 0; row < num_rows; ++row) {
    num_sampled += rates.sample.num_columns(row, num_columns);
  }
  rates.weights_per_sampled =
      static_cast<double>(num_rows * num_columns) / static_cast<double>(num_sampled);
  rates.weights_per_rate = granularity == Granularity::kKernel ? rows.num_positions() : 1;
  // A walk is forward or backward with probability 1/2.
  rates.total =
      (sum(forward.links[index]) + sum(backward.links[index])) / 2 * rates.weights_per_rate;
  if (rates.weights_per_rate > 1 && !link.source_degrees.empty()) rates.total = 0;
  return rates;
}

RateHistogram make_histogram(const std::vector<RateBin>& bins, const LinkRates& rates) {
  double total = 0;
  for (const RateBin& bin : bins) total += bin.sum_of_rates * rates.weights_per_sampled;
  // The sample's total is wrong by chance. Where it is off by 2x or more, a few heavy weights
  // dominate it, and scaling would distort the rates of all others. Nor are rates scaled where
  // their total is not known.
  double excess = total / rates.total;
  if (!(excess > 0.5 && excess < 2)) excess = 1;
  RateHistogram histogram;
  for (std::size_t i = 1; i < kNumRateBins; ++i) {
    if (bins[i].num_weights == 0) continue;
    histogram.rates.push_back(bins[i].sum_of_rates / bins[i].num_weights / excess);
    histogram.numbers.push_back(bins[i].num_weights * rates.weights_per_sampled);
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
  const NearSharesView row_shares = view(rates.row_shares);
  const NearSharesView column_shares = view(rates.column_shares);
  const std::uint32_t weights_per_rate = rates.weights_per_rate;
  const std::uint32_t rates_per_kernel = rows.num_positions() / std::max(weights_per_rate, 1U);
  std::vector<RateBins> bins(workers.size(), RateBins(kNumRateBins));
  for_each_mass(
      workers, rows, live,
      MassConverter(buffers, measured.power, measured.measures[index].scale, kNoMass), rates.sample,
      [&](unsigned thread, std::size_t row, std::size_t first, std::size_t num_columns,
          const std::uint32_t* masses) {
        RateBins& found = bins[thread];
        const auto add = [&](double rate, std::uint32_t num_weights) {
          RateBin& bin = found[bin_of_rate(rate)];
          bin.num_weights += num_weights;
          bin.sum_of_rates += rate * num_weights;
        };
        for (std::size_t column = first; column < first + num_columns; ++column) {
          if (!live.columns[column]) {
            masses += rows.num_positions();
            continue;
          }
          if (buffers.has_absent) {
            for (std::uint32_t i = 0; i < rates_per_kernel; ++i, masses += weights_per_rate) {
              const auto [mass, num_edges] = sum_edges(masses, weights_per_rate);
              if (num_edges == 0) continue;
              const VisitRate rate_of(row_shares, row, column_shares, column, num_edges);
              add(rate_of(mass), num_edges);
            }
            continue;
          }
          const VisitRate rate_of(row_shares, row, column_shares, column, weights_per_rate);
          for (std::uint32_t i = 0; i < rates_per_kernel; ++i) {
            std::uint64_t mass = 0;
            for (std::uint32_t k = 0; k < weights_per_rate; ++k) mass += *masses++;
            add(rate_of(mass), weights_per_rate);
          }
        }
      });
  return make_histogram(add_up(bins), rates);
}

}  // namespace phew
