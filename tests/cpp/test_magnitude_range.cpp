#include <doctest/doctest.h>

#include <cstddef>
#include <limits>
#include <vector>

#include "phew/magnitude_range.hpp"

namespace {

// 5 groups of 3 targets, 4 sources and 2 positions, stored in that order after one other element.
constexpr phew::WeightedLink kLink{0, 1, 5, 3, 4, 2, {24, 8, 2, 1}, 1, false};
constexpr std::size_t kNumElements = 1 + 5 * 24;

phew::MagnitudeRange measure(const std::vector<float>& weights, const phew::WeightedLink& link) {
  phew::Workers workers(3);
  return phew::measure_magnitudes(workers, link, {weights.data(), phew::DType::kFloat32, nullptr});
}

}  // namespace

TEST_CASE("the range is that of the nonzero magnitudes in the view") {
  std::vector<float> weights(kNumElements, 0);
  weights[0] = 100;
  weights[1] = -8;
  weights[77] = 0.25;
  weights[kNumElements - 1] = 2;
  const phew::MagnitudeRange range = measure(weights, kLink);
  CHECK(range.smallest == 0.25);
  CHECK(range.largest == 8);
  CHECK(range.is_finite);
}

TEST_CASE("the range does not depend on the order of the dimensions in memory") {
  std::vector<float> weights(kNumElements, 1);
  weights[50] = 3;
  phew::WeightedLink link = kLink;
  link.strides = {1, 5, 15, 60};
  CHECK(measure(weights, link).largest == 3);
}

TEST_CASE("a view of zeros, and one of nothing, have an empty range") {
  phew::WeightedLink nothing = kLink;
  nothing.num_positions = 0;
  for (const phew::WeightedLink& link : {kLink, nothing}) {
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
    CHECK(measure(weights, kLink).is_finite);
    weights[42] = bad;
    CHECK_FALSE(measure(weights, kLink).is_finite);
  }
}
