#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/philox.hpp"
#include "phew/loops/loops.hpp"

namespace {

// These lie around the numbers of elements that registers of any instruction set hold.
constexpr std::size_t kSizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 257};

std::uint64_t random_word(std::uint64_t i) {
  const phew::PhiloxCounter words =
      phew::philox4x32({{static_cast<std::uint32_t>(i), 0, 0, 0}}, {{11, 7}});
  return std::uint64_t{words.words[1]} << 32 | words.words[0];
}

// Makes weights of both signs whose magnitudes are in [smallest, largest] as bits. Both ends and
// zeros are among them.
template <typename Format>
std::vector<typename Format::Bits> make_weights(typename Format::Bits smallest,
                                                typename Format::Bits largest) {
  using Bits = typename Format::Bits;
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  std::vector<Bits> weights{0, kSign, smallest, largest, static_cast<Bits>(largest | kSign)};
  for (std::uint64_t i = 0; i < 300; ++i) {
    const std::uint64_t span = std::uint64_t{largest} - smallest + 1;
    const auto magnitude = static_cast<Bits>(smallest + random_word(i) % span);
    weights.push_back(static_cast<Bits>(magnitude | (i % 2 == 0 ? kSign : Bits{0})));
    if (i % 16 == 5) weights.push_back(i % 32 == 5 ? kSign : Bits{0});
  }
  return weights;
}

template <typename Format, int Power>
void check_masses(phew::DType dtype, typename Format::Bits smallest,
                  typename Format::Bits largest) {
  const phew::MassScale scale =
      phew::make_mass_scale(Format::to_double(smallest), Format::to_double(largest), Power);
  const phew::MassOf<Format, Power> mass_of{scale};
  const auto weights = make_weights<Format>(smallest, largest);
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const std::size_t n : kSizes) {
      // No register is aligned to these addresses.
      constexpr std::uint32_t kUntouched = 7;
      std::vector<std::uint32_t> masses(n + 2, kUntouched);
      loops->masses[static_cast<int>(dtype)][Power & 3](weights.data() + 1, n, scale,
                                                        masses.data() + 1);
      for (std::size_t i = 1; i <= n; ++i) REQUIRE(masses[i] == mass_of(weights[i]));
      REQUIRE(masses.front() == kUntouched);
      REQUIRE(masses.back() == kUntouched);
    }
  }
}

template <typename Format>
void check_format(phew::DType dtype) {
  using Bits = typename Format::Bits;
  constexpr auto kLargest = static_cast<Bits>(Format::kInfinity - 1);
  constexpr auto kMiddle = static_cast<Bits>(kLargest / 2);
  // These hold only subnormals, all finite magnitudes, equal magnitudes, and magnitudes around 1.
  const Bits ranges[][2] = {{1, 1},
                            {1, 3},
                            {1, 200},
                            {1, kMiddle},
                            {1, kLargest},
                            {kMiddle, kMiddle},
                            {kMiddle / 8 * 7, kMiddle},
                            {kMiddle, kLargest},
                            {static_cast<Bits>(kLargest - 100), kLargest}};
  for (const auto& [smallest, largest] : ranges) {
    check_masses<Format, 0>(dtype, smallest, largest);
    check_masses<Format, 1>(dtype, smallest, largest);
    check_masses<Format, 2>(dtype, smallest, largest);
    check_masses<Format, -1>(dtype, smallest, largest);
  }
}

template <typename Format>
void check_extremes(phew::DType dtype) {
  using Bits = typename Format::Bits;
  // An infinity is among the weights.
  const auto weights = make_weights<Format>(3, static_cast<Bits>(Format::kInfinity));
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const std::size_t n : kSizes) {
      phew::Extremes expected;
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t magnitude = phew::magnitude_bits(weights[i]);
        expected.largest = std::max(expected.largest, magnitude);
        if (magnitude == 0) {
          ++expected.num_zero;
        } else {
          expected.smallest_nonzero = std::min(expected.smallest_nonzero, magnitude);
        }
      }
      phew::Extremes found;
      // The weights come in two parts.
      const auto widen = loops->extremes[static_cast<int>(dtype)];
      widen(weights.data(), n / 3, found);
      widen(weights.data() + n / 3, n - n / 3, found);
      REQUIRE(found.largest == expected.largest);
      REQUIRE(found.num_zero == expected.num_zero);
      REQUIRE(found.smallest_nonzero == expected.smallest_nonzero);
    }
  }
}

std::vector<std::uint32_t> make_masses(std::size_t n) {
  std::vector<std::uint32_t> masses(n);
  for (std::size_t i = 0; i < n; ++i) masses[i] = static_cast<std::uint32_t>(random_word(i) >> 33);
  return masses;
}

std::uint64_t sum_of(const std::uint32_t* masses, std::uint32_t size) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < size; ++i) sum += masses[i];
  return sum;
}

}  // namespace

TEST_CASE("the baseline is supported, and names differ") {
  const auto supported = phew::supported_loops();
  REQUIRE_FALSE(supported.empty());
  CHECK(std::strcmp(supported.front()->name, "baseline") == 0);
  for (std::size_t i = 1; i < supported.size(); ++i) {
    CHECK(std::strcmp(supported[i - 1]->name, supported[i]->name) != 0);
  }
}

TEST_CASE("all instruction sets give the masses of each dtype and power") {
  check_format<phew::Float64>(phew::DType::kFloat64);
  check_format<phew::Float32>(phew::DType::kFloat32);
  check_format<phew::Float16>(phew::DType::kFloat16);
  check_format<phew::BFloat16>(phew::DType::kBFloat16);
}

TEST_CASE("a link of zeros has no mass, whatever the power") {
  const std::vector<std::uint32_t> zeros(20, 0x8000'0000);
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const int power : {1, 2, -1}) {
      std::vector<std::uint32_t> masses(zeros.size(), 9);
      loops->masses[static_cast<int>(phew::DType::kFloat32)][power & 3](
          zeros.data(), zeros.size(), phew::make_mass_scale(0, 0, power), masses.data());
      CHECK(masses == std::vector<std::uint32_t>(zeros.size()));
    }
  }
}

TEST_CASE("all instruction sets find the extremes of each dtype") {
  check_extremes<phew::Float64>(phew::DType::kFloat64);
  check_extremes<phew::Float32>(phew::DType::kFloat32);
  check_extremes<phew::Float16>(phew::DType::kFloat16);
  check_extremes<phew::BFloat16>(phew::DType::kBFloat16);
}

TEST_CASE("zeros are counted beyond what the bits of a weight hold") {
  const std::vector<std::uint16_t> zeros(200'000);
  for (const phew::Loops* loops : phew::supported_loops()) {
    phew::Extremes found;
    loops->extremes[static_cast<int>(phew::DType::kFloat16)](zeros.data(), zeros.size(), found);
    CHECK(found.num_zero == zeros.size());
    CHECK(found.largest == 0);
  }
}

TEST_CASE("masses are summed by kernel, in all and with factors") {
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const std::uint32_t num_positions : {1U, 2U, 9U}) {
      for (const std::size_t n : kSizes) {
        const auto masses = make_masses(n * num_positions);
        std::vector<std::uint64_t> totals(n, 5);
        std::vector<double> sums(n, 0.5);
        std::vector<double> factors(n);
        for (std::size_t i = 0; i < n; ++i) factors[i] = 1.0 + static_cast<double>(i % 4);
        const std::uint64_t all = loops->add_totals(masses.data(), num_positions, n, totals.data());
        loops->add_scaled(masses.data(), num_positions, n, 0.25, sums.data());
        const double scaled = loops->sum_scaled(masses.data(), num_positions, n, factors.data());
        std::uint64_t expected_all = 0;
        double expected_scaled = 0;
        for (std::size_t i = 0; i < n; ++i) {
          const std::uint64_t mass = sum_of(&masses[i * num_positions], num_positions);
          expected_all += mass;
          expected_scaled += factors[i] * static_cast<double>(mass);
          REQUIRE(totals[i] == mass + 5);
          REQUIRE(sums[i] == static_cast<double>(mass) / 4 + 0.5);
        }
        REQUIRE(all == expected_all);
        // The sums are exact, because they are whole numbers below 2^53.
        REQUIRE(scaled == expected_scaled);
      }
    }
  }
}

TEST_CASE("masses are cumulated by entry, the last of which may be short") {
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const std::size_t num_per_entry : {1U, 2U, 9U, 63U, 64U}) {
      for (const std::size_t n : kSizes) {
        constexpr std::uint64_t kTotal = std::uint64_t{1} << 40;
        const auto masses = make_masses(n);
        std::vector<std::uint64_t> expected;
        std::uint64_t total = kTotal;
        for (std::size_t i = 0; i < n; ++i) {
          total += masses[i];
          if ((i + 1) % num_per_entry == 0 || i + 1 == n) expected.push_back(total);
        }
        expected.push_back(7);
        std::vector<std::uint64_t> cumulative(expected.size(), 7);
        REQUIRE(loops->cumulate(masses.data(), n, num_per_entry, kTotal, cumulative.data()) ==
                total);
        REQUIRE(cumulative == expected);
      }
    }
  }
}

TEST_CASE("all instruction sets round sums alike") {
  const phew::Loops& baseline = *phew::supported_loops().front();
  for (const std::uint32_t num_positions : {1U, 9U}) {
    for (const std::size_t n : kSizes) {
      const auto masses = make_masses(n * num_positions);
      std::vector<double> factors(n);
      for (std::size_t i = 0; i < n; ++i) factors[i] = 1 / (1.0 + static_cast<double>(i));
      const auto add_thirds = [&](const phew::Loops& loops) {
        std::vector<double> sums(n, 0.1);
        loops.add_scaled(masses.data(), num_positions, n, 1.0 / 3, sums.data());
        sums.push_back(loops.sum_scaled(masses.data(), num_positions, n, factors.data()));
        return sums;
      };
      const auto expected = add_thirds(baseline);
      for (const phew::Loops* loops : phew::supported_loops()) {
        REQUIRE(add_thirds(*loops) == expected);
      }
    }
  }
}

TEST_CASE("edges are located as a division by the number of positions does") {
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (const std::uint32_t num_positions : {1U, 2U, 3U, 9U, 255U, 65'535U}) {
      for (const std::uint32_t largest : {65'535U, 3'000'000'000U}) {
        const phew::EdgeLayout layout{num_positions, 7, 1'000'003, 5};
        for (const std::size_t n : kSizes) {
          std::vector<std::uint32_t> edges(n);
          for (std::size_t i = 0; i < n; ++i) {
            edges[i] = static_cast<std::uint32_t>(random_word(i) % (std::uint64_t{largest} + 1));
          }
          if (n > 0) edges[0] = largest;
          std::vector<std::uint32_t> far_units(n);
          std::vector<std::int64_t> elements(n);
          loops->locate(layout, edges.data(), n, far_units.data(), elements.data());
          for (std::size_t i = 0; i < n; ++i) {
            REQUIRE(far_units[i] == edges[i] / num_positions);
            REQUIRE(elements[i] == 7 + std::int64_t{1'000'003} * (edges[i] / num_positions) +
                                       std::int64_t{5} * (edges[i] % num_positions));
          }
        }
      }
    }
  }
}

TEST_CASE("walkers draw what their walks draw") {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const phew::PhiloxKey seed = phew::make_key(0x0123'4567'89AB'CDEF);
  for (const phew::Loops* loops : phew::supported_loops()) {
    // From the second one on walk numbers pass 2^32. The third begins the last 2^34 that there are.
    for (const std::uint64_t first_walk :
         {std::uint64_t{0}, (std::uint64_t{1} << 32) - 9, kMax - (std::uint64_t{1} << 34)}) {
      for (const std::uint64_t total : {std::uint64_t{1}, std::uint64_t{10}, kMax / 3, kMax}) {
        const phew::DrawKey key{seed, first_walk, 0x8000'0001, phew::Purpose::kEdge};
        for (const std::size_t n : kSizes) {
          // No register is aligned to the address that is read from.
          std::vector<std::uint32_t> walkers(n + 1);
          std::vector<std::uint64_t> draws(n + 1);
          for (std::size_t i = 0; i <= n; ++i) {
            walkers[i] = static_cast<std::uint32_t>(i < 20 ? i : random_word(i));
          }
          loops->draw(key, walkers.data() + 1, n, total, draws.data() + 1);
          for (std::size_t i = 1; i <= n; ++i) {
            REQUIRE(draws[i] == phew::draw(seed, first_walk + 2 * std::uint64_t{walkers[i]},
                                           key.index, key.purpose, total));
          }
        }
      }
    }
  }
}
