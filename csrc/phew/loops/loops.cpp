// This file is compiled once for each instruction set, with PHEW_LOOPS as the name of the loops
// that it defines. All other functions that it uses must have internal linkage or always be inlined
// (PHEW_HOST_DEVICE): otherwise the linker may keep an AVX-512 copy of one for all processors.
#include "phew/loops/loops.hpp"

#include <cstring>
#include <limits>

#include "phew/loops/philox_registers.hpp"
#include "phew/loops/registers.hpp"
#include "phew/loops/transpose.hpp"

namespace phew {
namespace {

// Several registers of each word are computed at a time, to hide the latency of multiplications:
// four with AVX-512, which has 32 registers, and otherwise two.
constexpr std::size_t kNumAtOnce = kRegisterSize == 64 ? 4 : 2;
constexpr std::size_t kWalksPerStep = kNumAtOnce * kWalksPerRegister;

void draw_step(const DrawRegisters& draw, std::uint64_t first_walk, const std::uint32_t* walkers,
               std::uint64_t total, std::uint64_t* draws) {
  PhiloxRegisters blocks[kNumAtOnce];
  for (std::size_t i = 0; i < kNumAtOnce; ++i) {
    blocks[i].start(draw, first_walk, walkers + i * kWalksPerRegister);
  }
  for (std::size_t round = 1; round + 1 < kNumRounds; ++round) {
    for (PhiloxRegisters& block : blocks) block.next_round(draw.keys[round]);
  }
  for (std::size_t i = 0; i < kNumAtOnce; ++i) {
    blocks[i].finish(draw.keys[kNumRounds - 1]);
    draw_below(total, blocks[i].word1, blocks[i].word0, draws + i * kWalksPerRegister);
  }
}

void draw_all(const DrawKey& key, const std::uint32_t* walkers, std::size_t n, std::uint64_t total,
              std::uint64_t* draws) {
  const DrawRegisters draw(key.key, key.index, key.purpose);
  std::size_t i = 0;
  for (; i + kWalksPerStep <= n; i += kWalksPerStep) {
    draw_step(draw, key.first_walk, walkers + i, total, draws + i);
  }
  if (i == n) return;
  std::uint32_t last_walkers[kWalksPerStep] = {};
  std::uint64_t last_draws[kWalksPerStep];
  std::memcpy(last_walkers, walkers + i, (n - i) * sizeof *walkers);
  draw_step(draw, key.first_walk, last_walkers, total, last_draws);
  std::memcpy(draws + i, last_draws, (n - i) * sizeof *draws);
}

template <typename Format>
void widen(const void* weights, std::size_t n, Extremes& extremes) {
  using Bits = typename Format::Bits;
  const auto* weight = static_cast<const Bits*>(weights);
  Bits largest = 0;
  // Zero minus 1 is the largest unsigned number, so the smallest is found among the nonzero ones.
  auto smallest_minus_1 = static_cast<Bits>(-1);
  Bits num_zero = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Bits magnitude = magnitude_bits(weight[i]);
    const auto minus_1 = static_cast<Bits>(magnitude - 1);
    largest = magnitude > largest ? magnitude : largest;
    smallest_minus_1 = minus_1 < smallest_minus_1 ? minus_1 : smallest_minus_1;
    num_zero = static_cast<Bits>(num_zero + (magnitude == 0));
  }
  const std::uint64_t smallest =
      largest == 0 ? Extremes::kNone : std::uint64_t{smallest_minus_1} + 1;
  extremes.widen({largest, smallest, num_zero});
}

// Goes over the weights in parts, so that the number of a part's zeros fits in the bits of a
// weight.
template <typename Format>
void widen_by_parts(const void* weights, std::size_t n, Extremes& extremes) {
  constexpr std::size_t kWeightsPerPart = 32'768;
  const auto* weight = static_cast<const typename Format::Bits*>(weights);
  for (std::size_t i = 0; i < n; i += kWeightsPerPart) {
    widen<Format>(weight + i, n - i < kWeightsPerPart ? n - i : kWeightsPerPart, extremes);
  }
}

template <typename Format, int Power>
void masses_of(const void* weights, std::size_t n, const MassScale& scale, std::uint32_t* masses) {
  const auto* weight = static_cast<const typename Format::Bits*>(weights);
  const MassOf<Format, Power> mass_of{scale};
  for (std::size_t i = 0; i < n; ++i) masses[i] = mass_of(weight[i]);
}

// Does what masses_of does for the commonest formats and power, several times as fast.
template <typename Format>
void masses_by_float32(const void* weights, std::size_t n, const MassScale& scale,
                       std::uint32_t* masses) {
  if (!MassByFloat32<Format>::suits(scale)) return masses_of<Format, 1>(weights, n, scale, masses);
  const auto* weight = static_cast<const typename Format::Bits*>(weights);
  const MassByFloat32<Format> mass_of(scale);
  for (std::size_t i = 0; i < n; ++i) masses[i] = mass_of(weight[i]);
}

void locate(const EdgeLayout& layout, const std::uint32_t* edges, std::size_t n,
            std::uint32_t* far_units, std::int64_t* elements) {
  if (layout.num_positions == 1) {
    for (std::size_t i = 0; i < n; ++i) {
      far_units[i] = edges[i];
      elements[i] = layout.first_element + edges[i] * layout.far_stride;
    }
    return;
  }
  // Multiplying by 2^32 / num_positions, rounded up, divides numbers of 16 bits exactly.
  constexpr std::uint32_t kFewEdges = 65'536;
  const std::uint64_t reciprocal = 0xFFFF'FFFF / layout.num_positions + 1;
  const std::int64_t far_step = layout.far_stride - layout.num_positions * layout.position_stride;
  std::uint32_t all_bits = 0;
  for (std::size_t i = 0; i < n; ++i) all_bits |= edges[i];
  if (all_bits < kFewEdges) {
    for (std::size_t i = 0; i < n; ++i) {
      far_units[i] = static_cast<std::uint32_t>(edges[i] * reciprocal >> 32);
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) far_units[i] = edges[i] / layout.num_positions;
  }
  for (std::size_t i = 0; i < n; ++i) {
    elements[i] =
        layout.first_element + far_units[i] * far_step + edges[i] * layout.position_stride;
  }
}

std::uint64_t sum_kernel(const std::uint32_t* masses, std::uint32_t num_positions) {
  std::uint64_t sum = 0;
  for (std::uint32_t k = 0; k < num_positions; ++k) sum += masses[k];
  return sum;
}

// A mass is below 2^31, so it can be converted as an int32, which every processor can do.
double to_double(std::uint32_t mass) { return static_cast<std::int32_t>(mass); }

std::uint64_t add_totals(const std::uint32_t* masses, std::uint32_t num_positions,
                         std::size_t num_channels, std::uint64_t* totals) {
  std::uint64_t sum = 0;
  if (num_positions == 1) {
    for (std::size_t i = 0; i < num_channels; ++i) {
      totals[i] += masses[i];
      sum += masses[i];
    }
    return sum;
  }
  for (std::size_t i = 0; i < num_channels; ++i) {
    const std::uint64_t mass = sum_kernel(masses + i * num_positions, num_positions);
    totals[i] += mass;
    sum += mass;
  }
  return sum;
}

// Adds to each lane those before it.
template <std::size_t Stride = 1>
PHEW_INLINE Register<std::uint64_t> cumulative_lanes(Register<std::uint64_t> numbers) {
  if constexpr (Stride < kLanes<std::uint64_t>) {
    return cumulative_lanes<2 * Stride>(numbers + moved_up<Stride, std::uint64_t>(numbers));
  } else {
    return numbers;
  }
}

std::uint64_t cumulate(const std::uint32_t* masses, std::size_t num_masses,
                       std::size_t num_per_entry, std::uint64_t total, std::uint64_t* cumulative) {
  std::size_t i = 0;
  if (num_per_entry == 1) {
    constexpr std::size_t kNum = kLanes<std::uint64_t>;
    auto before = Register<std::uint64_t>{} + total;
    for (; i + kNum <= num_masses; i += kNum) {
      const Register<std::uint64_t> sums = before + cumulative_lanes(load_wide(masses + i));
      store(sums, cumulative + i);
      before = last_repeated<std::uint64_t>(sums);
    }
    total = before[0];
    for (; i < num_masses; ++i) cumulative[i] = total += masses[i];
    return total;
  }
  for (; i < num_masses; i += num_per_entry) {
    const std::size_t num_left = num_masses - i;
    total +=
        sum_kernel(masses + i,
                   static_cast<std::uint32_t>(num_left < num_per_entry ? num_left : num_per_entry));
    *cumulative++ = total;
  }
  return total;
}

void add_scaled(const std::uint32_t* masses, std::uint32_t num_positions, std::size_t num_channels,
                double factor, double* sums) {
  if (num_positions == 1) {
    for (std::size_t i = 0; i < num_channels; ++i) sums[i] += factor * to_double(masses[i]);
    return;
  }
  for (std::size_t i = 0; i < num_channels; ++i) {
    const std::uint64_t mass = sum_kernel(masses + i * num_positions, num_positions);
    sums[i] += factor * static_cast<double>(static_cast<std::int64_t>(mass));
  }
}

double sum_scaled(const std::uint32_t* masses, std::uint32_t num_positions,
                  std::size_t num_channels, const double* factors) {
  double sum = 0;
  std::size_t i = 0;
  if (num_positions == 1) {
    // There are several sums, because compilers may not reorder a single one.
    constexpr std::size_t kNumSums = 16;
    double sums[kNumSums] = {};
    for (; i + kNumSums <= num_channels; i += kNumSums) {
      for (std::size_t j = 0; j < kNumSums; ++j) {
        sums[j] += factors[i + j] * to_double(masses[i + j]);
      }
    }
    for (const double part : sums) sum += part;
  }
  for (; i < num_channels; ++i) {
    const std::uint64_t mass = sum_kernel(masses + i * num_positions, num_positions);
    sum += factors[i] * static_cast<double>(static_cast<std::int64_t>(mass));
  }
  return sum;
}

// So many numbers are zeroed at a time: those of a register, and no more than a number has bits.
template <typename Bits>
struct NumbersAtOnce {
  static constexpr std::size_t kSize =
      kRegisterSize < 16 * sizeof(Bits) ? kRegisterSize : 16 * sizeof(Bits);
  static constexpr std::size_t kNum = kSize / sizeof(Bits);
  using Numbers [[gnu::vector_size(kSize)]] = Bits;
  using Words [[gnu::vector_size(kSize)]] = std::uint64_t;
};

// Stores in any case: on an EPYC that takes as long as only where a number changes, 0.1 ns for 4
// bytes in the cache.
template <typename Bits>
bool zero_pruned(const void* numbers, const std::uint8_t* kept, std::size_t n, void* zeroed) {
  using Numbers = typename NumbersAtOnce<Bits>::Numbers;
  using Words = typename NumbersAtOnce<Bits>::Words;
  constexpr std::size_t kNum = NumbersAtOnce<Bits>::kNum;
  constexpr std::size_t kBitsPerWord = 64;
  // A number times this is repeated through a word: 0x1'0000'0001 for numbers of 4 bytes.
  constexpr std::uint64_t kRepeated =
      ~std::uint64_t{0} / static_cast<std::uint64_t>(std::numeric_limits<Bits>::max());
  const auto* from = static_cast<const Bits*>(numbers);
  auto* to = static_cast<Bits*>(zeroed);
  Numbers bit_of_lane{};
  for (std::size_t j = 0; j < kNum; ++j) bit_of_lane[j] = static_cast<Bits>(Bits{1} << j);
  Numbers changed{};
  std::size_t i = 0;
  for (; i + kBitsPerWord <= n; i += kBitsPerWord) {
    std::uint64_t word = 0;
    std::memcpy(&word, kept + i / 8, sizeof word);
    for (std::size_t j = 0; j < kBitsPerWord; j += kNum) {
      Numbers part;
      std::memcpy(&part, from + i + j, sizeof part);
      const auto bits =
          reinterpret_cast<Numbers>(Words{} + static_cast<Bits>(word >> j) * kRepeated);
      const auto is_kept = reinterpret_cast<Numbers>((bits & bit_of_lane) != 0);
      changed |= part & ~is_kept;
      part &= is_kept;
      std::memcpy(to + i + j, &part, sizeof part);
    }
  }
  Bits any_changed = 0;
  for (std::size_t j = 0; j < kNum; ++j) any_changed = static_cast<Bits>(any_changed | changed[j]);
  for (; i < n; ++i) {
    const auto is_kept = static_cast<Bits>(-(kept[i / 8] >> i % 8 & 1));
    any_changed = static_cast<Bits>(any_changed | (from[i] & ~is_kept));
    to[i] = static_cast<Bits>(from[i] & is_kept);
  }
  return any_changed != 0;
}

#define PHEW_STRING_OF(name) #name
#define PHEW_STRING(name) PHEW_STRING_OF(name)
#define PHEW_BY_POWER(Format, by_power_1) \
  {masses_of<Format, 0>, by_power_1, masses_of<Format, 2>, masses_of<Format, -1>}

}  // namespace

extern const SparseLoops PHEW_JOINED(PHEW_LOOPS, _sparse)[3];
extern const Loops PHEW_LOOPS;
const Loops PHEW_LOOPS = {
    PHEW_STRING(PHEW_LOOPS),
    {widen_by_parts<Float64>, widen_by_parts<Float32>, widen_by_parts<Float16>,
     widen_by_parts<BFloat16>},
    {PHEW_BY_POWER(Float64, (masses_of<Float64, 1>)),
     PHEW_BY_POWER(Float32, masses_by_float32<Float32>),
     PHEW_BY_POWER(Float16, (masses_of<Float16, 1>)),
     PHEW_BY_POWER(BFloat16, masses_by_float32<BFloat16>)},
    add_totals,
    cumulate,
    add_scaled,
    sum_scaled,
    locate,
    draw_all,
    {zero_pruned<std::uint16_t>, zero_pruned<std::uint32_t>, zero_pruned<std::uint64_t>},
    {transpose<std::uint16_t>, transpose<std::uint32_t>, transpose<std::uint64_t>},
    PHEW_JOINED(PHEW_LOOPS, _sparse),
};

}  // namespace phew
