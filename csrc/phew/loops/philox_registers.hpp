// Philox4x32-10 of philox.hpp for as many walks at a time as a register of the instruction set that
// a file is compiled for has room for. Walker n is on walk first_walk + 2 n.
//
// Everything has internal linkage, because files that are compiled for several instruction sets
// include this (see loops.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "phew/arithmetic/draw.hpp"
#include "phew/arithmetic/philox.hpp"
#include "phew/loops/registers.hpp"

#ifdef __aarch64__
#include <arm_neon.h>
#endif

namespace phew {
namespace {

#ifdef __aarch64__

// A register holds a word of each of four walks, in lanes of 32 bits.
using WordRegister = Register<std::uint32_t>;
constexpr std::size_t kWalksPerRegister = kLanes<std::uint32_t>;

// The halves of 64-bit numbers.
struct Halves {
  WordRegister high;
  WordRegister low;

  Halves(uint64x2_t first_two, uint64x2_t last_two)
      : high(vuzp2q_u32(vreinterpretq_u32_u64(first_two), vreinterpretq_u32_u64(last_two))),
        low(vuzp1q_u32(vreinterpretq_u32_u64(first_two), vreinterpretq_u32_u64(last_two))) {}
};

Halves walks_of(std::uint64_t first_walk, const std::uint32_t* walkers) {
  const uint32x4_t part = vld1q_u32(walkers);
  const uint64x2_t first = vdupq_n_u64(first_walk);
  return {vmlal_n_u32(first, vget_low_u32(part), 2), vmlal_high_n_u32(first, part, 2)};
}

Halves multiply(WordRegister words, std::uint64_t multiplier) {
  const auto factor = static_cast<std::uint32_t>(multiplier);
  const uint32x4_t factors = words;
  return {vmull_n_u32(vget_low_u32(factors), factor), vmull_high_n_u32(factors, factor)};
}

// ARM has no vectors of products of 64-bit numbers, but takes their high halves one by one.
void draw_below(std::uint64_t total, WordRegister high, WordRegister low, std::uint64_t* draws) {
  vst1q_u64(draws, vreinterpretq_u64_u32(vzip1q_u32(low, high)));
  vst1q_u64(draws + 2, vreinterpretq_u64_u32(vzip2q_u32(low, high)));
  for (std::size_t i = 0; i < kWalksPerRegister; ++i) draws[i] = multiply_high(draws[i], total);
}

#else

// A register holds a word of each walk, in the low halves of lanes of 64 bits. What is in the high
// halves is ignored.
using WordRegister = Register<std::uint64_t>;
constexpr std::size_t kWalksPerRegister = kLanes<std::uint64_t>;
using HalfRegister [[gnu::vector_size(kRegisterSize / 2)]] = std::uint32_t;
constexpr std::uint64_t kLowHalf = 0xFFFF'FFFF;

// Multiplies the low halves. Compilers do not see that the high halves do not matter.
WordRegister multiply_low_halves(WordRegister left, WordRegister right) {
#if defined(__AVX512F__)
  // The masked form, because g++ 12 warns of its own header without a mask.
  return reinterpret_cast<WordRegister>(_mm512_maskz_mul_epu32(
      0xFF, reinterpret_cast<__m512i>(left), reinterpret_cast<__m512i>(right)));
#elif defined(__AVX2__)
  return reinterpret_cast<WordRegister>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(left), reinterpret_cast<__m256i>(right)));
#elif defined(__x86_64__)
  return reinterpret_cast<WordRegister>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(left), reinterpret_cast<__m128i>(right)));
#else
  return (left & kLowHalf) * (right & kLowHalf);
#endif
}

// The halves of 64-bit numbers.
struct Halves {
  WordRegister high;
  WordRegister low;

  explicit Halves(WordRegister numbers) : high(numbers >> 32), low(numbers) {}
};

Halves walks_of(std::uint64_t first_walk, const std::uint32_t* walkers) {
  HalfRegister part;
  std::memcpy(&part, walkers, sizeof part);
  return Halves(first_walk + 2 * __builtin_convertvector(part, WordRegister));
}

Halves multiply(WordRegister words, std::uint64_t multiplier) {
  return Halves(multiply_low_halves(words, WordRegister{} + multiplier));
}

// Takes the high halves of the products of 64-bit numbers.
void draw_below(std::uint64_t total, WordRegister high, WordRegister low, std::uint64_t* draws) {
  const WordRegister bits = high << 32 | (low & kLowHalf);
  const WordRegister totals = WordRegister{} + total;
  const WordRegister low_low = multiply_low_halves(bits, totals);
  const WordRegister high_low = multiply_low_halves(bits >> 32, totals);
  const WordRegister low_high = multiply_low_halves(bits, totals >> 32);
  const WordRegister high_high = multiply_low_halves(bits >> 32, totals >> 32);
  const WordRegister middle = (low_low >> 32) + (high_low & kLowHalf) + low_high;
  store<std::uint64_t>(high_high + (high_low >> 32) + (middle >> 32), draws);
}

#endif

constexpr std::size_t kNumRounds = 10;

// The random numbers of all walks at a link or fork share the key of each round, and one of the two
// products of the first round, which does not depend on the walk.
struct DrawRegisters {
  WordRegister keys[kNumRounds][2];
  Halves product_of_index;
  WordRegister purpose;

  DrawRegisters(PhiloxKey key, std::uint32_t index, Purpose its_purpose)
      : product_of_index(multiply(WordRegister{} + index, kPhiloxMultipliers[1])),
        purpose(WordRegister{} + static_cast<std::uint32_t>(its_purpose)) {
    for (auto& round : keys) {
      for (int i = 0; i < 2; ++i) round[i] = WordRegister{} + key.words[i];
      key = next_philox_key(key);
    }
  }
};

struct PhiloxRegisters {
  WordRegister word0;
  WordRegister word1;
  WordRegister word2;
  WordRegister word3;

  // Sets the words to those after the first round.
  void start(const DrawRegisters& draw, std::uint64_t first_walk, const std::uint32_t* walkers) {
    const Halves walks = walks_of(first_walk, walkers);
    const Halves product = multiply(walks.low, kPhiloxMultipliers[0]);
    word0 = draw.product_of_index.high ^ walks.high ^ draw.keys[0][0];
    word1 = draw.product_of_index.low;
    word2 = product.high ^ draw.purpose ^ draw.keys[0][1];
    word3 = product.low;
  }

  void next_round(const WordRegister* key) {
    const Halves product0 = multiply(word0, kPhiloxMultipliers[0]);
    const Halves product1 = multiply(word2, kPhiloxMultipliers[1]);
    word0 = product1.high ^ word1 ^ key[0];
    word1 = product1.low;
    word2 = product0.high ^ word3 ^ key[1];
    word3 = product0.low;
  }

  // Does the last round for the words that draws take.
  void finish(const WordRegister* key) {
    const Halves product = multiply(word2, kPhiloxMultipliers[1]);
    word0 = product.high ^ word1 ^ key[0];
    word1 = product.low;
  }
};

}  // namespace
}  // namespace phew
