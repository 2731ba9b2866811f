// The walks that a call makes, and the batches that they are made in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "phew/graph/directed_graph.hpp"

namespace phew {

// The walks first_walk, first_walk + step, ...: even ones are forward, odd ones backward. The
// visits of the walks from first_listed on are listed.
//
//   {3, 4}: walks 3 4 5 6. {3, 4, 5}: the same, and the visits of 5 and 6 are listed.
struct WalkRange {
  std::uint64_t first_walk;
  std::uint64_t num_walks;
  std::uint64_t first_listed = std::numeric_limits<std::uint64_t>::max();
  // 1, or 2 for walks of one direction only.
  std::uint32_t step = 1;
};

// Calls visit(direction, first_walk, num_walkers) for each batch. Its walkers are on the walks
// first_walk, first_walk + 2, ...
template <typename Visit>
void for_each_batch(const WalkRange& range, std::uint32_t batch_size, const Visit& visit) {
  for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
    const std::uint64_t parity = direction == Direction::kBackward ? 1 : 0;
    const std::uint64_t skipped = range.first_walk % 2 ^ parity;
    if (skipped > 0 && range.step == 2) continue;
    std::uint64_t first_walk = range.first_walk + skipped;
    std::uint64_t num_left =
        range.step == 2 ? range.num_walks : (range.num_walks + 1 - skipped) / 2;
    while (num_left > 0) {
      const std::uint64_t num_walkers = std::min<std::uint64_t>(num_left, batch_size);
      visit(direction, first_walk, static_cast<std::uint32_t>(num_walkers));
      first_walk += 2 * num_walkers;
      num_left -= num_walkers;
    }
  }
}

}  // namespace phew
