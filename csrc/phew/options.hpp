// The options of a walk: all that it depends on beside the graph and its weights.
#pragma once

#include <cstdint>

namespace phew {

// A walk chooses among the links of a unit by this rule.
enum class ForkRule : std::uint8_t {
  // All are equally likely.
  kUniform,
  // They are chosen in proportion to the unit's mass in each link.
  kMass,
};

enum class Granularity : std::uint8_t {
  // A hop visits its weight.
  kWeight,
  // A hop visits the kernel that its weight is in.
  kKernel,
};

struct Options {
  std::uint64_t seed = 0;
  ForkRule fork = ForkRule::kUniform;
  Granularity granularity = Granularity::kWeight;
  // The bias of a walk is this power of the magnitude: 1, 0, 2 or -1.
  int power = 1;
};

}  // namespace phew
