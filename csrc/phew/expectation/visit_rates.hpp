// How often walks are expected to visit each weight of a link: a histogram.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "phew/arithmetic/macros.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/options.hpp"
#include "phew/weights/column_sample.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// Weights by the rate at which walks of both directions visit them, or their kernels: expected
// visits a walk. Those of rates within 6 % of each other are together; those that are never visited
// are left out.
struct RateHistogram {
  // Mean rates.
  std::vector<double> rates;
  // Numbers of weights.
  std::vector<double> numbers;
};

struct RateBin {
  double num_weights;
  double sum_of_rates;
};

// The bin of a rate is its exponent as float32 with the first bits of its fraction. Bin 0 is of
// what is never visited.
constexpr int kRateShift = 19;
constexpr std::size_t kNumRateBins = (0x3F80'0000 >> kRateShift) + 1;

PHEW_HOST_DEVICE inline std::size_t bin_of_rate(double rate) {
  const auto value = static_cast<float>(rate < 1 ? rate : 1.0);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> kRateShift;
}

// What the rates of a link's weights follow from, and which of them are looked at.
struct LinkRates {
  NearShares of_rows;
  NearShares of_columns;
  ColumnSample sample;
  double weights_per_seen;
  // Of all weights together: what is visited of the link in a walk, known from the flow.
  double total;
  // The weights that have a rate of their own: one, or those of a kernel.
  std::uint32_t num_together;
};

LinkRates make_link_rates(const MeasuredGraph& measured, std::uint32_t index,
                          const WeightRows& rows, const Flow& forward, const Flow& backward,
                          Granularity granularity, double share);

// Rates are scaled so that they add up to the total.
RateHistogram make_histogram(const std::vector<RateBin>& bins, const LinkRates& rates);

// Of one link. Looks at a share of the weights.
RateHistogram count_rates(Workers& workers, const MeasuredGraph& measured, std::uint32_t index,
                          const Flow& forward, const Flow& backward, Granularity granularity,
                          double share, const LinkBuffers& buffers);

}  // namespace phew
