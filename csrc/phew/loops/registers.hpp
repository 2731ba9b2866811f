// Registers of adjacent numbers, as wide as the instruction set that a file is compiled for has
// them.
//
// Everything has internal linkage or is always inlined, because files that are compiled for several
// instruction sets include this (see loops.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace phew {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kRegisterSize = 64;
#elif defined(__AVX2__)
constexpr std::size_t kRegisterSize = 32;
#else
constexpr std::size_t kRegisterSize = 16;
#endif

#define PHEW_INLINE [[gnu::always_inline]] inline

template <typename Number>
struct RegisterOf {
  using Type [[gnu::vector_size(kRegisterSize)]] = Number;
};
template <typename Number>
using Register = typename RegisterOf<Number>::Type;
template <typename Number>
constexpr std::size_t kLanes = kRegisterSize / sizeof(Number);

template <typename Number>
PHEW_INLINE Register<Number> load(const Number* numbers) {
  Register<Number> result;
  std::memcpy(&result, numbers, sizeof result);
  return result;
}

template <typename Number>
PHEW_INLINE void store(Register<Number> numbers, Number* to) {
  std::memcpy(to, &numbers, sizeof numbers);
}

// Loads numbers of half the size, as many as a register has lanes.
PHEW_INLINE Register<std::uint64_t> load_wide(const std::uint32_t* numbers) {
  using Halves [[gnu::vector_size(kRegisterSize / 2)]] = std::uint32_t;
  Halves halves;
  std::memcpy(&halves, numbers, sizeof halves);
  return __builtin_convertvector(halves, Register<std::uint64_t>);
}

// Moves each lane up by Num lanes: 1 2 3 4 becomes 0 1 2 3.
template <std::size_t Num, typename Number, std::size_t... Lane>
PHEW_INLINE Register<Number> moved_up(Register<Number> numbers, std::index_sequence<Lane...>) {
  return __builtin_shufflevector(
      Register<Number>{}, numbers,
      (static_cast<int>(Lane < Num ? Lane : sizeof...(Lane) + Lane - Num))...);
}

template <std::size_t Num, typename Number>
PHEW_INLINE Register<Number> moved_up(Register<Number> numbers) {
  return moved_up<Num, Number>(numbers, std::make_index_sequence<kLanes<Number>>{});
}

template <typename Number, std::size_t... Lane>
PHEW_INLINE Register<Number> last_repeated(Register<Number> numbers, std::index_sequence<Lane...>) {
  return __builtin_shufflevector(numbers, numbers,
                                 (static_cast<int>(sizeof...(Lane) - 1 + 0 * Lane))...);
}

// Returns the last lane in all lanes.
template <typename Number>
PHEW_INLINE Register<Number> last_repeated(Register<Number> numbers) {
  return last_repeated<Number>(numbers, std::make_index_sequence<kLanes<Number>>{});
}

// Mixes two registers. With the stride 1, every second lane of each is taken: 0 1 2 3 and 4 5 6 7
// give 0 4 2 6, and 1 5 3 7 if Odd. With the stride 2, pairs of lanes are: 0 1 4 5, and 2 3 6 7.
template <std::size_t Stride, bool Odd, typename Vector, std::size_t... Lane>
PHEW_INLINE Vector every_other(Vector left, Vector right, std::index_sequence<Lane...>) {
  constexpr std::size_t kNum = sizeof...(Lane);
  return __builtin_shufflevector(
      left, right,
      (static_cast<int>((Lane & Stride) == 0 ? Lane + (Odd ? Stride : 0)
                                             : kNum + Lane - (Odd ? 0 : Stride)))...);
}

template <std::size_t Stride, bool Odd, typename Number>
PHEW_INLINE Register<Number> half_of(Register<Number> left, Register<Number> right) {
  return every_other<Stride, Odd>(left, right, std::make_index_sequence<kLanes<Number>>{});
}

// Adds up the lanes of each of Num registers products(first), products(first + stride), and so on.
// Lane i of the result is the sum of register i. With fewer than kLanes, the sums are repeated.
template <typename Number, std::size_t Num, typename Products>
PHEW_INLINE Register<Number> sums_of_lanes(const Products& products, std::size_t first,
                                           std::size_t stride) {
  if constexpr (Num == 1) {
    return products(first);
  } else {
    // The registers of even numbers go to lanes of even numbers.
    const Register<Number> even = sums_of_lanes<Number, Num / 2>(products, first, 2 * stride);
    const Register<Number> odd =
        sums_of_lanes<Number, Num / 2>(products, first + stride, 2 * stride);
    constexpr std::size_t kStride = kLanes<Number> / Num;
    return half_of<kStride, false, Number>(even, odd) + half_of<kStride, true, Number>(even, odd);
  }
}

// Returns numbers[columns[0]], numbers[columns[1]], and so on.
template <typename Number, typename Column>
PHEW_INLINE Register<Number> load_at(const Number* numbers, const Column* columns) {
#ifdef __AVX512F__
  if constexpr (sizeof(Number) == 4 && sizeof(Column) == 2) {
    const __m512i places = _mm512_maskz_cvtepu16_epi32(
        0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns)));
    return reinterpret_cast<Register<Number>>(
        _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xFFFF, places, numbers, 4));
  }
#endif
  Register<Number> result{};
  for (std::size_t i = 0; i < kLanes<Number>; ++i) result[i] = numbers[columns[i]];
  return result;
}

// Adds the upper half of the lanes to the lower half, and so on.
template <typename Number>
PHEW_INLINE Number sum_of_lanes(Register<Number> numbers) {
  Number parts[kLanes<Number>];
  store(numbers, parts);
  for (std::size_t num = kLanes<Number> / 2; num > 0; num /= 2) {
    for (std::size_t i = 0; i < num; ++i) parts[i] += parts[i + num];
  }
  return parts[0];
}

#ifdef __AVX512F__
// Puts values into the lanes whose bits are set.
PHEW_INLINE Register<float> load_by_bits(const float* values, std::uint64_t bits) {
  return reinterpret_cast<Register<float>>(
      _mm512_maskz_expandloadu_ps(static_cast<__mmask16>(bits), values));
}

PHEW_INLINE Register<double> load_by_bits(const double* values, std::uint64_t bits) {
  return reinterpret_cast<Register<double>>(
      _mm512_maskz_expandloadu_pd(static_cast<__mmask8>(bits), values));
}
#endif

// Exchanges every other lane of two registers.
template <std::size_t Stride, typename Number>
PHEW_INLINE void exchange(Register<Number>& left, Register<Number>& right) {
  const Register<Number> even = half_of<Stride, false, Number>(left, right);
  right = half_of<Stride, true, Number>(left, right);
  left = even;
}

template <std::size_t Stride, typename Number>
PHEW_INLINE void transpose_registers(Register<Number>* rows) {
  for (std::size_t i = 0; i < kLanes<Number>; ++i) {
    if ((i & Stride) == 0) exchange<Stride, Number>(rows[i], rows[i + Stride]);
  }
  if constexpr (Stride > 1) transpose_registers<Stride / 2, Number>(rows);
}

}  // namespace
}  // namespace phew
