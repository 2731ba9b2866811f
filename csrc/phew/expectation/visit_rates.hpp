// A histogram of how often walks are expected to visit the weights of a link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "phew/arithmetic/macros.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/options.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/column_sample.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// Numbers of weights by the rate at which walks of both directions visit them, or their kernels, in
// expected visits per walk. Weights whose rates are within 6 % of each other share a bin. Weights
// that are never visited are left out.
struct RateHistogram {
  // Per bin, the mean rate.
  std::vector<double> rates;
  // Per bin, the number of weights.
  std::vector<double> numbers;
};

struct RateBin {
  double num_weights;
  double sum_of_rates;
};

// The bin of a rate is its exponent as float32 with the first bits of its fraction. Bin 0 has the
// weights that are never visited, and where weights have changed since they were measured also
// rates that are NaN.
constexpr int kRateShift = 19;
constexpr std::size_t kNumRateBins = (0x3F80'0000 >> kRateShift) + 1;

PHEW_HOST_DEVICE inline std::size_t bin_of_rate(double rate) {
  const auto value = static_cast<float>(rate > 0 ? (rate < 1 ? rate : 1.0) : 0.0);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> kRateShift;
}

// A NearShares, of which this does not own the memory.
struct NearSharesView {
  const double* per_mass;
  const double* per_edge;
};

// The rate of weights that join one row and one column, as a function of their mass. A weight has a
// rate of its own, or shares the rate of its kernel.
struct VisitRate {
  double per_mass;
  double constant;

  // A walk is forward or backward with probability 1/2: it comes from the row or from the column.
  PHEW_HOST_DEVICE VisitRate(const NearSharesView& rows, std::size_t row,
                             const NearSharesView& columns, std::size_t column,
                             std::uint32_t weights_per_rate)
      : per_mass((rows.per_mass[row] + columns.per_mass[column]) / 2),
        constant((rows.per_edge[row] + columns.per_edge[column]) / 2 * weights_per_rate) {}

  PHEW_HOST_DEVICE double operator()(std::uint64_t mass) const {
    return static_cast<double>(mass) * per_mass + constant;
  }
};

// The rates of a link's weights follow from these.
struct LinkRates {
  NearShares row_shares;
  NearShares column_shares;
  // Only these weights are looked at. Each stands for weights_per_sampled weights.
  ColumnSample sample;
  double weights_per_sampled;
  // The sum of the rates of all weights, which the flow tells exactly; 0 if it does not, because
  // kernels lack edges.
  double total;
  // 1, or the size of a kernel whose weights share a rate.
  std::uint32_t weights_per_rate;
};

LinkRates make_link_rates(const MeasuredGraph& measured, std::uint32_t index,
                          const WeightRows& rows, const Flow& forward, const Flow& backward,
                          Granularity granularity, double share);

// Makes a histogram of rates that are scaled so that they add up to the total.
RateHistogram make_histogram(const std::vector<RateBin>& bins, const LinkRates& rates);

// Makes the histogram of one link from a share of its weights.
RateHistogram count_rates(Workers& workers, const MeasuredGraph& measured, std::uint32_t index,
                          const Flow& forward, const Flow& backward, Granularity granularity,
                          double share, const LinkBuffers& buffers);

}  // namespace phew
