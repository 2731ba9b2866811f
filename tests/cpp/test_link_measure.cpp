#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "phew/link_measure.hpp"

namespace {

// 5 groups of 3 targets, 4 sources and 2 positions, stored in that order after one other element.
constexpr phew::WeightedLink kLink{0, 1, 5, 3, 4, 2, {24, 8, 2, 1}, 1, false};
constexpr std::size_t kNumElements = 1 + 5 * 24;

phew::MagnitudeRange measure(const std::vector<float>& weights, const phew::WeightedLink& link) {
  phew::Workers workers(3);
  const phew::LinkBuffers buffers{weights.data(), phew::DType::kFloat32, nullptr};
  return phew::measure_magnitudes(workers, phew::WeightRows(link, buffers), buffers.dtype);
}

// The view of the same edges in memory that is laid out in another way.
struct Layout {
  phew::WeightedLink link;
  std::size_t num_elements;
};

// 2 groups of 3 targets, 4 sources and 2 positions: as a convolution, as a transposed one, and with
// neither targets nor sources side by side.
const Layout layouts[] = {
    {{0, 1, 2, 3, 4, 2, {24, 8, 2, 1}, 1, false}, 1 + 48},
    {{0, 1, 2, 3, 4, 2, {24, 2, 6, 1}, 0, false}, 48},
    {{0, 1, 2, 3, 4, 2, {12, 4, 1, 24}, 0, false}, 48},
    {{0, 1, 2, 3, 4, 2, {48, 16, 4, 2}, 3, false}, 3 + 96},
};

std::size_t element(const phew::WeightedLink& link, std::int64_t group, std::int64_t target,
                    std::int64_t source, std::int64_t position) {
  return static_cast<std::size_t>(link.offset + group * link.strides[0] + target * link.strides[1] +
                                  source * link.strides[2] + position * link.strides[3]);
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
  CHECK(range.num_zero == 5 * 24 - 3);
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

TEST_CASE("the edges of each unit to live units are summed in both directions") {
  phew::Workers workers(3);
  const phew::Flags live_sources{1, 1, 0, 1, 1, 1, 1, 1};
  const phew::Flags live_targets{1, 1, 1, 0, 1, 1};
  for (const auto& [link, num_elements] : layouts) {
    std::vector<float> weights(num_elements, 0.5F);
    phew::UnitMasses sources(8);
    phew::UnitMasses targets(6);
    for (std::uint32_t group = 0; group < 2; ++group) {
      for (std::uint32_t t = 0; t < 3; ++t) {
        for (std::uint32_t s = 0; s < 4; ++s) {
          for (std::uint32_t k = 0; k < 2; ++k) {
            const std::uint32_t mass = (t + 1) * 100 + s * 10 + k;
            weights[element(link, group, t, s, k)] = -static_cast<float>(mass);
            const std::uint32_t source = group * 4 + s;
            const std::uint32_t target = group * 3 + t;
            if (live_targets[target]) sources[source] += mass;
            if (live_sources[source]) targets[target] += mass;
          }
        }
      }
    }
    const phew::LinkBuffers buffers{weights.data(), phew::DType::kFloat32, nullptr};
    const phew::MassScale scale = phew::make_mass_scale(1, 512, 1);
    const phew::EdgeTotals totals =
        phew::sum_edges(workers, phew::WeightRows(link, buffers), live_sources, live_targets,
                        phew::MassConverter(buffers.dtype, 1, scale));
    // A weight of 1 has mass 2^21.
    for (std::size_t unit = 0; unit < 8; ++unit) {
      if (live_sources[unit]) CHECK(totals.sources[unit] == sources[unit] << 21);
    }
    for (std::size_t unit = 0; unit < 6; ++unit) {
      if (live_targets[unit]) CHECK(totals.targets[unit] == targets[unit] << 21);
    }
  }
}
