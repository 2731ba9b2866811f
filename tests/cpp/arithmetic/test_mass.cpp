#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <vector>

#include "phew/arithmetic/mass.hpp"

namespace {

constexpr std::uint32_t kTop = std::uint32_t{1} << 30;

// Returns the masses of a link with these magnitudes.
template <int Power>
std::vector<std::uint32_t> masses(std::initializer_list<double> magnitudes) {
  double smallest = 0;
  double largest = 0;
  for (const double magnitude : magnitudes) {
    if (magnitude == 0) continue;
    if (smallest == 0 || magnitude < smallest) smallest = magnitude;
    if (magnitude > largest) largest = magnitude;
  }
  const phew::MassOf<phew::Float64, Power> mass_of{phew::make_mass_scale(smallest, largest, Power)};
  std::vector<std::uint32_t> result;
  for (const double magnitude : magnitudes) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &magnitude, sizeof bits);
    result.push_back(mass_of(bits));
  }
  return result;
}

using Masses = std::vector<std::uint32_t>;

constexpr double kSmallestDouble = std::numeric_limits<double>::denorm_min();
constexpr double kLargestDouble = std::numeric_limits<double>::max();

}  // namespace

TEST_CASE("the largest mass of a link has its top bit at 2^30") {
  CHECK(masses<1>({0.5, 0.25}) == Masses{kTop, kTop / 2});
  CHECK(masses<1>({0.75, 0.3}) == Masses{1610612736, 644245094});
  CHECK(masses<2>({0.5, 0.25}) == Masses{kTop, kTop / 4});
  CHECK(masses<2>({0.75, 0.5}) == Masses{1207959552, 536870912});
  CHECK(masses<-1>({0.5, 0.25}) == Masses{kTop / 2, kTop});
  CHECK(masses<-1>({0.75, 3.0}) == Masses{1431655765, 357913941});
}

TEST_CASE("a negative weight has the mass of its magnitude") {
  CHECK(masses<1>({0.75, -0.3}) == Masses{1610612736, 644245094});
}

TEST_CASE("a weight that is not zero has at least mass 1") {
  CHECK(masses<1>({1, 1e-12, 0}) == Masses{kTop, 1, 0});
  CHECK(masses<2>({1, 1e-200, 0}) == Masses{kTop, 1, 0});
  CHECK(masses<-1>({1, 1e200}) == Masses{kTop, 1});
}

TEST_CASE("a zero weight counts as the smallest nonzero one in an inverse walk") {
  CHECK(masses<-1>({0.5, 0.25, 0}) == Masses{kTop / 2, kTop, kTop});
}

TEST_CASE("all weights have one mass in a uniform walk") {
  CHECK(masses<0>({0.5, 1e-300, 0}) == Masses{kTop, kTop, kTop});
}

TEST_CASE("a link without nonzero weights has no mass") {
  CHECK(masses<1>({0, 0}) == Masses{0, 0});
  CHECK(masses<2>({0, 0}) == Masses{0, 0});
  CHECK(masses<-1>({0, 0}) == Masses{0, 0});
  CHECK_FALSE(phew::make_mass_scale(0, 0, 1).has_mass);
}

TEST_CASE("masses hold from the smallest to the largest float64") {
  CHECK(masses<1>({kSmallestDouble, 3 * kSmallestDouble}) == Masses{kTop / 2, kTop / 2 * 3});
  CHECK(masses<2>({kSmallestDouble, 2 * kSmallestDouble}) == Masses{kTop / 4, kTop});
  CHECK(masses<-1>({kSmallestDouble, kLargestDouble}) == Masses{kTop, 1});
  CHECK(masses<1>({kLargestDouble, kLargestDouble / 2, kSmallestDouble}) ==
        Masses{2 * kTop - 1, kTop - 1, 1});
  CHECK(masses<-1>({kLargestDouble, kLargestDouble / 2}) == Masses{kTop / 2, kTop});
}

TEST_CASE("a unit of mass is worth 2^exponent") {
  // The largest values are 0.5, then 0.25 as the square of 0.5 and as the inverse of 4. Each has
  // mass 2^30.
  CHECK(phew::make_mass_scale(0.5, 0.5, 1).exponent == -31);
  CHECK(phew::make_mass_scale(0.5, 0.5, 2).exponent == -32);
  CHECK(phew::make_mass_scale(4, 4, -1).exponent == -32);
  CHECK(phew::make_mass_scale(0, 0, 0).exponent == -30);
}

TEST_CASE("float16 bits become float64") {
  CHECK(phew::Float16::to_double(0x0000) == 0);
  CHECK(phew::Float16::to_double(0x0001) == 0x1p-24);
  CHECK(phew::Float16::to_double(0x03FF) == 1023 * 0x1p-24);
  CHECK(phew::Float16::to_double(0x0400) == 0x1p-14);
  CHECK(phew::Float16::to_double(0x3C00) == 1);
  CHECK(phew::Float16::to_double(0x3555) == 0x1.554p-2);
  CHECK(phew::Float16::to_double(0x7BFF) == 65504);
}

TEST_CASE("bfloat16 bits become float64") {
  CHECK(phew::BFloat16::to_double(0x0000) == 0);
  CHECK(phew::BFloat16::to_double(0x0001) == 0x1p-133);
  CHECK(phew::BFloat16::to_double(0x3F80) == 1);
  CHECK(phew::BFloat16::to_double(0x3EAB) == 0x1.56p-2);
  CHECK(phew::BFloat16::to_double(0x7F7F) == 0x1.FEp127);
}

TEST_CASE("float32 bits become float64") {
  CHECK(phew::Float32::to_double(0x00000001) == 0x1p-149);
  CHECK(phew::Float32::to_double(0x3F800000) == 1);
  CHECK(phew::Float32::to_double(0x7F7FFFFF) == 0x1.FFFFFEp127);
}
