// Philox4x32-10, the counter-based random numbers of Salmon, Moraes, Dror and Shaw, "Parallel
// Random Numbers: As Easy as 1, 2, 3", SC 2011. The words are a pure function of counter and key:
// there is no state, so any thread draws any walk's numbers in any order.
#pragma once

#include <cstdint>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// Plain arrays, because std::array's members are not device functions.
struct PhiloxCounter {
  std::uint32_t words[4];
};

struct PhiloxKey {
  std::uint32_t words[2];
};

constexpr std::uint64_t kPhiloxMultipliers[] = {0xD2511F53, 0xCD9E8D57};

namespace detail {

PHEW_HOST_DEVICE constexpr PhiloxCounter philox_round(PhiloxCounter counter, PhiloxKey key) {
  const std::uint64_t product0 = kPhiloxMultipliers[0] * counter.words[0];
  const std::uint64_t product1 = kPhiloxMultipliers[1] * counter.words[2];
  const auto high0 = static_cast<std::uint32_t>(product0 >> 32);
  const auto high1 = static_cast<std::uint32_t>(product1 >> 32);
  return {{high1 ^ counter.words[1] ^ key.words[0], static_cast<std::uint32_t>(product1),
           high0 ^ counter.words[3] ^ key.words[1], static_cast<std::uint32_t>(product0)}};
}

}  // namespace detail

// Returns the key of the next round.
PHEW_HOST_DEVICE constexpr PhiloxKey next_philox_key(PhiloxKey key) {
  return {{key.words[0] + 0x9E3779B9u, key.words[1] + 0xBB67AE85u}};
}

// Returns the four random words that belong to `counter` under `key`.
PHEW_HOST_DEVICE constexpr PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    counter = detail::philox_round(counter, key);
    key = next_philox_key(key);
  }
  return counter;
}

}  // namespace phew
