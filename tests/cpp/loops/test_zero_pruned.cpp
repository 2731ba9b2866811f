#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "phew/loops/loops.hpp"

namespace {

// These lie around the numbers of elements that registers and words of bits hold.
constexpr std::size_t kSizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 257, 1'000};

std::vector<std::uint8_t> make_kept(std::size_t n) {
  std::vector<std::uint8_t> kept((n + 7) / 8);
  for (std::size_t i = 0; i < n; ++i) {
    const bool keeps = i % 3 == 0 || i % 7 == 2;
    kept[i / 8] = static_cast<std::uint8_t>(kept[i / 8] | unsigned{keeps} << i % 8);
  }
  return kept;
}

bool is_kept(const std::vector<std::uint8_t>& kept, std::size_t i) {
  return (kept[i / 8] >> i % 8 & 1U) != 0;
}

// Makes bits of numbers, none of which is +0: they include those of -0, of NaN and of 1.
template <typename Bits>
std::vector<Bits> make_numbers(std::size_t n) {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  constexpr Bits kChoices[] = {kSign, std::numeric_limits<Bits>::max(), 1,
                               static_cast<Bits>(kSign >> 1), static_cast<Bits>(kSign | 5)};
  std::vector<Bits> numbers(n);
  for (std::size_t i = 0; i < n; ++i) numbers[i] = kChoices[i % 5];
  return numbers;
}

template <typename Bits>
void check_zeroing(int index) {
  for (const phew::Loops* loops : phew::supported_loops()) {
    const phew::ZeroFunction zero_pruned = loops->zero_pruned[index];
    for (const std::size_t n : kSizes) {
      const std::vector<std::uint8_t> kept = make_kept(n);
      // No register is aligned to these addresses, and what lies around them is not touched.
      const std::vector<Bits> numbers = make_numbers<Bits>(n + 2);
      std::vector<Bits> expected = numbers;
      for (std::size_t i = 0; i < n; ++i) {
        if (!is_kept(kept, i)) expected[i + 1] = 0;
      }
      std::vector<Bits> zeroed = numbers;
      for (std::size_t i = 0; i < n; ++i) zeroed[i + 1] = 7;
      const bool changes = n > 1;  // only the first is kept where there is one
      CHECK(zero_pruned(numbers.data() + 1, kept.data(), n, zeroed.data() + 1) == changes);
      CHECK(zeroed == expected);

      std::vector<Bits> in_place = numbers;
      CHECK(zero_pruned(in_place.data() + 1, kept.data(), n, in_place.data() + 1) == changes);
      CHECK(in_place == expected);
      CHECK_FALSE(zero_pruned(in_place.data() + 1, kept.data(), n, in_place.data() + 1));
    }
  }
}

template <typename Bits>
void check_single_changes(int index) {
  constexpr std::size_t kNum = 150;
  const std::vector<std::uint8_t> kept = make_kept(kNum);
  for (const phew::Loops* loops : phew::supported_loops()) {
    for (std::size_t i = 0; i < kNum; ++i) {
      std::vector<Bits> numbers(kNum);
      numbers[i] = 1;
      const bool changed =
          loops->zero_pruned[index](numbers.data(), kept.data(), kNum, numbers.data());
      REQUIRE(changed == !is_kept(kept, i));
      REQUIRE(numbers[i] == (is_kept(kept, i) ? 1 : 0));
    }
  }
}

TEST_CASE("pruned numbers become +0 whatever they were, and the others stay to the bit") {
  check_zeroing<std::uint16_t>(0);
  check_zeroing<std::uint32_t>(1);
  check_zeroing<std::uint64_t>(2);
}

TEST_CASE("zeroing tells of a change wherever it is") {
  check_single_changes<std::uint16_t>(0);
  check_single_changes<std::uint32_t>(1);
  check_single_changes<std::uint64_t>(2);
}

}  // namespace
