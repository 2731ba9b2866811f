#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "phew/arithmetic/draw.hpp"

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("multiply_high is the high half of the product") {
  CHECK(phew::multiply_high(0, kMax) == 0);
  CHECK(phew::multiply_high(kMax, 7) == 6);
  CHECK(phew::multiply_high(std::uint64_t{1} << 63, 10) == 5);
  CHECK(phew::multiply_high(kMax, kMax) == kMax - 1);
}

TEST_CASE("a draw takes its 64 bits from the first two words, low word first") {
  const phew::PhiloxCounter block = phew::philox4x32({{3, 2, 5, 1}}, {{7, 9}});
  const std::uint64_t walk = (std::uint64_t{2} << 32) + 3;
  const phew::PhiloxKey key = phew::make_key((std::uint64_t{9} << 32) + 7);
  const std::uint64_t bits = (std::uint64_t{block.words[1]} << 32) + block.words[0];
  CHECK(phew::random_bits(key, walk, 5, phew::Purpose::kEdge) == bits);
  CHECK(phew::draw(key, walk, 5, phew::Purpose::kEdge, 1000) == phew::multiply_high(bits, 1000));
}

TEST_CASE("a draw falls to the first cumulative above it") {
  const std::uint64_t cumulative[] = {3, 3, 4, 8};
  const std::uint32_t expected[] = {0, 0, 0, 2, 3, 3, 3, 3};
  for (std::uint64_t draw = 0; draw < 8; ++draw) {
    CHECK(phew::first_above(cumulative, 4, draw) == expected[draw]);
  }
}

TEST_CASE("the search finds every index of tables of every size") {
  for (std::uint32_t size = 1; size <= 65; ++size) {
    std::vector<std::uint64_t> cumulative(size);
    for (std::uint64_t i = 0; i < size; ++i) cumulative[i] = 2 * (i + 1);
    for (std::uint64_t i = 0; i < size; ++i) {
      CHECK(phew::first_above(cumulative.data(), size, 2 * i) == i);
      CHECK(phew::first_above(cumulative.data(), size, 2 * i + 1) == i);
    }
  }
}

TEST_CASE("a draw falls to the same index where only the masses are known") {
  const std::uint32_t masses[] = {3, 0, 1, 4};
  const std::uint32_t expected[] = {0, 0, 0, 2, 3, 3, 3, 3};
  for (std::uint64_t draw = 0; draw < 8; ++draw) {
    CHECK(phew::first_above_sum(masses, 4, draw) == expected[draw]);
  }
}
