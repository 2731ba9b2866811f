#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "phew/weights/link_measure.hpp"

namespace {

// It has 5 groups of 3 targets, 4 sources and 2 positions, stored in that order after one element.
const phew::WeightedLink five_groups{0, 1, 5, 3, 4, 2, {24, 8, 2, 1}, 1, false};
constexpr std::size_t kNumElements = 1 + 5 * 24;

phew::MagnitudeRange measure(const std::vector<float>& weights, const phew::WeightedLink& link) {
  phew::Workers workers(3);
  const phew::LinkBuffers buffers{weights.data(), phew::DType::kFloat32, nullptr};
  return phew::measure_magnitudes(workers, phew::WeightRows(link, buffers), buffers.dtype);
}

std::size_t element(const phew::WeightedLink& link, std::int64_t group, std::int64_t target,
                    std::int64_t source, std::int64_t position) {
  return static_cast<std::size_t>(link.offset + group * link.strides[0] + target * link.strides[1] +
                                  source * link.strides[2] + position * link.strides[3]);
}

template <typename Format>
void check_range(phew::DType dtype) {
  using Bits = typename Format::Bits;
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  constexpr auto kLargest = static_cast<Bits>(Format::kInfinity - 1);
  std::vector<Bits> weights(kNumElements, Format::kInfinity / 2);
  weights[3] = 1 | kSign;
  weights[100] = kLargest | kSign;
  weights[101] = kSign;
  phew::Workers workers(3);
  const phew::WeightRows rows(five_groups, {weights.data(), dtype, nullptr});
  const phew::MagnitudeRange range = phew::measure_magnitudes(workers, rows, dtype);
  CHECK(range.smallest == Format::to_double(1));
  CHECK(range.largest == Format::to_double(kLargest));
  CHECK(range.num_zero == 1);
  CHECK(range.is_finite);
  weights[100] = Format::kInfinity;
  CHECK_FALSE(phew::measure_magnitudes(workers, rows, dtype).is_finite);
}

}  // namespace

TEST_CASE("the range is that of the nonzero magnitudes in the view") {
  std::vector<float> weights(kNumElements, 0);
  weights[0] = 100;
  weights[1] = -8;
  weights[77] = 0.25;
  weights[kNumElements - 1] = 2;
  const phew::MagnitudeRange range = measure(weights, five_groups);
  CHECK(range.smallest == 0.25);
  CHECK(range.largest == 8);
  CHECK(range.is_finite);
  CHECK(range.num_zero == 5 * 24 - 3);
}

TEST_CASE("the range does not depend on the order of the dimensions in memory") {
  std::vector<float> weights(kNumElements, 1);
  weights[50] = 3;
  weights[51] = 0;
  phew::WeightedLink link = five_groups;
  link.strides = {1, 5, 15, 60};
  const phew::MagnitudeRange range = measure(weights, link);
  CHECK(range.smallest == 1);
  CHECK(range.largest == 3);
  CHECK(range.num_zero == 1);
}

TEST_CASE("a view of zeros, and one of nothing, have an empty range") {
  phew::WeightedLink nothing = five_groups;
  nothing.num_positions = 0;
  for (const phew::WeightedLink& link : {five_groups, nothing}) {
    const phew::MagnitudeRange range = measure(std::vector<float>(kNumElements, -0.0F), link);
    CHECK(range.smallest == 0);
    CHECK(range.largest == 0);
    CHECK(range.is_finite);
  }
}

TEST_CASE("infinities and NaNs in the view are not finite") {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> weights(kNumElements, 1);
    weights[0] = bad;
    CHECK(measure(weights, five_groups).is_finite);
    weights[42] = bad;
    CHECK_FALSE(measure(weights, five_groups).is_finite);
  }
}

TEST_CASE("the range is exact from the smallest to the largest weight of each dtype") {
  check_range<phew::Float64>(phew::DType::kFloat64);
  check_range<phew::Float32>(phew::DType::kFloat32);
  check_range<phew::Float16>(phew::DType::kFloat16);
  check_range<phew::BFloat16>(phew::DType::kBFloat16);
}

TEST_CASE("the edges of each unit to live units are summed in both directions") {
  // The first is a convolution, the second a transposed one. In the others neither targets nor
  // sources are adjacent: positions are apart, or every second element is used. Rows are read in
  // parts and shared among threads.
  const phew::WeightedLink links[] = {
      {0, 1, 2, 60, 250, 9, {135'000, 2250, 9, 1}, 1, false},
      {0, 1, 2, 60, 250, 9, {135'000, 9, 540, 1}, 0, false},
      {0, 1, 2, 60, 250, 9, {15'000, 250, 1, 30'000}, 0, false},
      {0, 1, 2, 60, 250, 9, {270'000, 4500, 18, 2}, 3, false},
  };
  phew::Workers workers(3);
  phew::Flags live_sources(500, 1);
  phew::Flags live_targets(120, 1);
  live_sources[2] = live_sources[249] = live_sources[250] = 0;
  live_targets[3] = live_targets[119] = 0;
  for (const phew::WeightedLink& link : links) {
    std::vector<float> weights(3 + 540'000, 0.5F);
    phew::UnitMasses sources(500);
    phew::UnitMasses targets(120);
    for (std::uint32_t source = 0; source < 500; ++source) {
      for (std::uint32_t i = 0; i < 60; ++i) {
        const std::uint32_t group = source / 250;
        const std::uint32_t target = group * 60 + i;
        for (std::uint32_t k = 0; k < 9; ++k) {
          const std::uint32_t mass = (source * 7 + target * 31 + k) % 500;
          weights[element(link, group, i, source % 250, k)] = -static_cast<float>(mass);
          if (live_targets[target]) sources[source] += mass;
          if (live_sources[source]) targets[target] += mass;
        }
      }
    }
    const phew::LinkBuffers buffers{weights.data(), phew::DType::kFloat32, nullptr};
    const phew::MassScale scale = phew::make_mass_scale(1, 512, 1);
    const phew::EdgeTotals totals =
        phew::sum_edges(workers, phew::WeightRows(link, buffers), live_sources, live_targets,
                        phew::MassConverter(buffers, 1, scale));
    // A weight of 1 has mass 2^21.
    for (std::size_t unit = 0; unit < sources.size(); ++unit) {
      if (live_sources[unit]) REQUIRE(totals.sources[unit] == sources[unit] << 21);
    }
    for (std::size_t unit = 0; unit < targets.size(); ++unit) {
      if (live_targets[unit]) REQUIRE(totals.targets[unit] == targets[unit] << 21);
    }
  }
}
