#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "phew/arithmetic/bfloat16.hpp"

namespace {

std::uint16_t rounded(float number) { return phew::to_bfloat16(number).bits; }

float from_bits(std::uint16_t bits) { return phew::to_float({bits}); }

}  // namespace

TEST_CASE("numbers of bfloat16 are the upper halves of floats") {
  CHECK(from_bits(0x3FC0) == 1.5F);
  CHECK(from_bits(0xC2F7) == -123.5F);
  CHECK(from_bits(0x7F7F) == 0x1.FEp127F);
  CHECK(from_bits(0x0080) == 0x1p-126F);
  CHECK(from_bits(0x0001) == 0x1p-133F);
  CHECK(from_bits(0x7F80) == std::numeric_limits<float>::infinity());
}

TEST_CASE("every number of bfloat16 is rounded to itself") {
  for (std::uint32_t bits = 0; bits < 0x1'0000; ++bits) {
    const auto number = static_cast<std::uint16_t>(bits);
    if (std::isnan(from_bits(number))) {
      REQUIRE(std::isnan(from_bits(rounded(from_bits(number)))));
    } else {
      REQUIRE(rounded(from_bits(number)) == number);
    }
  }
}

TEST_CASE("floats are rounded to the nearest number, and to the even one of two") {
  // The numbers next to 1 are 1 + 2^-7 and 1 - 2^-8.
  CHECK(rounded(1 + 0x1p-8F) == 0x3F80);
  CHECK(rounded(1 + 0x1p-8F + 0x1p-23F) == 0x3F81);
  CHECK(rounded(1 + 0x1p-8F - 0x1p-23F) == 0x3F80);
  CHECK(rounded(1 + 0x3p-8F) == 0x3F82);
  CHECK(rounded(1 + 0x3p-8F - 0x1p-23F) == 0x3F81);
  CHECK(rounded(1 - 0x1p-9F) == 0x3F80);
  CHECK(rounded(1 - 0x1p-9F - 0x1p-24F) == 0x3F7F);
  CHECK(rounded(-1 - 0x1p-8F) == 0xBF80);
  CHECK(rounded(-1 - 0x3p-8F) == 0xBF82);
}

TEST_CASE("floats beyond the largest number become infinities") {
  // The number after the largest one would be 2^128, which is even.
  CHECK(rounded(0x1.FEFFFEp127F) == 0x7F7F);
  CHECK(rounded(0x1.FFp127F) == 0x7F80);
  CHECK(rounded(std::numeric_limits<float>::max()) == 0x7F80);
  CHECK(rounded(-std::numeric_limits<float>::max()) == 0xFF80);
  CHECK(rounded(std::numeric_limits<float>::infinity()) == 0x7F80);
  CHECK(rounded(-std::numeric_limits<float>::infinity()) == 0xFF80);
}

TEST_CASE("subnormal floats are rounded, and zeros keep their sign") {
  CHECK(rounded(0.0F) == 0);
  CHECK(rounded(-0.0F) == 0x8000);
  CHECK(rounded(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(rounded(-std::numeric_limits<float>::denorm_min()) == 0x8000);
  // The smallest number is 2^-133.
  CHECK(rounded(0x1p-134F) == 0);
  CHECK(rounded(0x1p-134F + 0x1p-149F) == 1);
  CHECK(rounded(0x3p-134F) == 2);
  // The last subnormal float becomes the first normal number.
  CHECK(rounded(0x1p-126F - 0x1p-149F) == 0x0080);
}

TEST_CASE("NaN remains NaN, whatever its bits and sign") {
  // Rounding the bits alone would make infinities of the first two, and zeros of the last two.
  for (const std::uint32_t bits :
       {0x7F80'0001U, 0xFF80'0001U, 0x7FC0'0000U, 0xFFC0'1234U, 0x7FFF'FFFFU, 0xFFFF'FFFFU}) {
    float number;
    std::memcpy(&number, &bits, sizeof number);
    CHECK(std::isnan(from_bits(rounded(number))));
  }
}
