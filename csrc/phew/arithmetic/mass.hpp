// Integer masses of weights. A link's magnitudes are scaled by a power of two so that the base of
// the bias is near 1, raised to the power p in float64, and scaled again so that the largest mass
// falls in [2^30, 2^31), and truncated. Every nonzero weight has at least mass 1.
//
//   p = 1, magnitudes 0 1e-12 0.3 0.75: masses 0 1 644245094 1610612736.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "phew/arithmetic/macros.hpp"

namespace phew {

enum class DType : std::uint8_t { kFloat64, kFloat32, kFloat16, kBFloat16 };

// The floating-point formats. Weights are read as bits: without their signs, the bits of two
// weights compare as the magnitudes do, and the bits of infinities and NaNs are the largest.
struct Float64 {
  using Bits = std::uint64_t;
  static constexpr Bits kInfinity = 0x7FF0'0000'0000'0000;

  PHEW_HOST_DEVICE static double to_double(Bits bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
};

struct Float32 {
  using Bits = std::uint32_t;
  static constexpr Bits kInfinity = 0x7F80'0000;

  // Takes finite magnitudes. It converts by hand, because processors can be set to read subnormals
  // as zero, and without branches, so that loops over weights become vector code.
  PHEW_HOST_DEVICE static double to_double(Bits bits) {
    const double subnormal = static_cast<std::int32_t>(bits) * 0x1p-149;
    const double normal =
        Float64::to_double((std::uint64_t{bits} << 29) + (std::uint64_t{1023 - 127} << 52));
    return bits < 0x0080'0000 ? subnormal : normal;
  }
};

struct Float16 {
  using Bits = std::uint16_t;
  static constexpr Bits kInfinity = 0x7C00;

  // Takes finite magnitudes.
  PHEW_HOST_DEVICE static double to_double(Bits bits) {
    const double subnormal = static_cast<std::int32_t>(bits) * 0x1p-24;
    const double normal =
        Float64::to_double((std::uint64_t{bits} << 42) + (std::uint64_t{1023 - 15} << 52));
    return bits < 0x0400 ? subnormal : normal;
  }
};

struct BFloat16 {
  using Bits = std::uint16_t;
  static constexpr Bits kInfinity = 0x7F80;

  PHEW_HOST_DEVICE static double to_double(Bits bits) {
    return Float32::to_double(std::uint32_t{bits} << 16);
  }
};

// Returns a weight's bits without its sign.
template <typename Bits>
PHEW_HOST_DEVICE constexpr Bits magnitude_bits(Bits weight) {
  return static_cast<Bits>(weight & static_cast<Bits>(static_cast<Bits>(-1) >> 1));
}

// Where a link has absent edges, their weights are given as -0, and no other weight is. Zeros have
// no mass at most powers, so little code needs to tell -0 from 0.
template <typename Bits>
PHEW_HOST_DEVICE constexpr bool is_absent(Bits weight) {
  return weight == static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
}

// The mass of every weight in a uniform walk.
constexpr std::uint32_t kUniformMass = std::uint32_t{1} << 30;

// Turns the magnitudes of one link into masses.
struct MassScale {
  // Their product brings magnitudes near 1. There are two, since 2^1074 is not a float64.
  double first = 1;
  double second = 1;
  // Brings the power of the scaled magnitudes to the range of masses.
  double last = 1;
  // A weight of zero counts as this magnitude.
  double zero = 0;
  // A unit of mass is worth 2^exponent.
  int exponent = 0;
  // Whether a weight of the link has a mass above 0.
  bool has_mass = false;
};

template <int Power>
PHEW_HOST_DEVICE inline double raise(double scaled) {
  if constexpr (Power == 1) {
    return scaled;
  } else if constexpr (Power == 2) {
    return scaled * scaled;
  } else {
    static_assert(Power == -1);
    return 1 / scaled;
  }
}

// Converts a value to a mass below 2^31. Values that were measured are below it too. Weights that
// have grown since may not be, and those that became NaN have none: both get the largest mass, so
// that a mass is never negative as an int32, which every processor can convert to.
PHEW_HOST_DEVICE inline std::uint32_t to_mass(double value) {
  constexpr double kMost = 0x7FFF'FFFF;
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(value < kMost ? value : kMost));
}

PHEW_HOST_DEVICE inline std::uint32_t to_mass(float value) {
  constexpr float kMost = 0x1.FFFFFEp30F;
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(value < kMost ? value : kMost));
}

// Computes the mass of a weight, given as bits.
template <typename FormatOfWeight, int Power>
struct MassOf {
  using Format = FormatOfWeight;
  using Bits = typename Format::Bits;

  MassScale scale;

  PHEW_HOST_DEVICE std::uint32_t operator()(Bits weight) const {
    if constexpr (Power == 0) {
      return kUniformMass;
    } else {
      const double magnitude = Format::to_double(magnitude_bits(weight));
      const double base = Power < 0 && magnitude == 0 ? scale.zero : magnitude;
      const std::uint32_t mass =
          to_mass(raise<Power>(base * scale.first * scale.second) * scale.last);
      return mass + static_cast<std::uint32_t>((mass == 0) & (magnitude != 0));
    }
  }
};

// Computes the same mass for power 1 and weights of float32 or bfloat16, if the scale suits: a
// weight times a power of two is exact in float32. A processor that is set to read subnormals as
// zero loses only values below 2, and these have mass 1 all the same.
template <typename FormatOfWeight>
struct MassByFloat32 {
  using Format = FormatOfWeight;
  using Bits = typename Format::Bits;
  static_assert(Format::kInfinity == Float32::kInfinity ||
                Format::kInfinity == BFloat16::kInfinity);

  float factor;

  static bool suits(const MassScale& scale) {
    return scale.last != 0 && -scale.exponent <= kLargestExponent;
  }

  explicit MassByFloat32(const MassScale& scale)
      : factor(to_float(static_cast<std::uint32_t>(kLargestExponent - scale.exponent)
                        << kFractionBits)) {}

  PHEW_HOST_DEVICE std::uint32_t operator()(Bits weight) const {
    constexpr int kShift = Format::kInfinity == Float32::kInfinity ? 0 : 16;
    const std::uint32_t magnitude = std::uint32_t{magnitude_bits(weight)} << kShift;
    const std::uint32_t mass = to_mass(to_float(magnitude) * factor);
    return mass + static_cast<std::uint32_t>((mass == 0) & (magnitude != 0));
  }

 private:
  static constexpr int kLargestExponent = 127;
  static constexpr int kFractionBits = 23;

  PHEW_HOST_DEVICE static float to_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
};

// Computes the same mass for a power that is known only at run time.
template <typename FormatOfWeight>
struct MassOfAnyPower {
  using Format = FormatOfWeight;
  using Bits = typename Format::Bits;

  MassScale scale;
  int power;

  PHEW_HOST_DEVICE std::uint32_t operator()(Bits weight) const {
    switch (power) {
      case 0:
        return MassOf<Format, 0>{scale}(weight);
      case 1:
        return MassOf<Format, 1>{scale}(weight);
      case 2:
        return MassOf<Format, 2>{scale}(weight);
      default:
        return MassOf<Format, -1>{scale}(weight);
    }
  }
};

// Returns the scale of a link whose nonzero magnitudes lie in [smallest, largest]. Both are 0 if it
// has none.
inline MassScale make_mass_scale(double smallest, double largest, int power) {
  constexpr int kTopBits = 31;
  MassScale scale;
  if (power == 0) {
    scale.exponent = 1 - kTopBits;
    scale.has_mass = true;
    return scale;
  }
  if (largest == 0) {
    // All masses are 0, also that of the magnitude that zero counts as, for power -1.
    scale.zero = 1;
    scale.last = 0;
    return scale;
  }
  const double base = power < 0 ? smallest : largest;
  int base_exponent = 0;
  const double scaled = std::frexp(base, &base_exponent);
  scale.first = std::ldexp(1.0, -base_exponent / 2);
  scale.second = std::ldexp(1.0, -base_exponent - -base_exponent / 2);
  const double value = power == 1   ? raise<1>(scaled)
                       : power == 2 ? raise<2>(scaled)
                                    : raise<-1>(scaled);
  int value_exponent = 0;
  std::frexp(value, &value_exponent);
  const int shift = kTopBits - value_exponent;
  scale.last = std::ldexp(1.0, shift);
  scale.exponent = power * base_exponent - shift;
  scale.has_mass = true;
  if (power < 0) scale.zero = smallest;
  return scale;
}

// Calls function(Format{}) with the dtype's format.
template <typename Function>
decltype(auto) with_format(DType dtype, const Function& function) {
  switch (dtype) {
    case DType::kFloat64:
      return function(Float64{});
    case DType::kFloat16:
      return function(Float16{});
    case DType::kBFloat16:
      return function(BFloat16{});
    case DType::kFloat32:
      break;
  }
  return function(Float32{});
}

}  // namespace phew
