// The hops of all walkers that take one link, in parallel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/graph/directed_graph.hpp"
#include "phew/walks/buckets.hpp"
#include "phew/walks/team.hpp"
#include "phew/walks/walkers.hpp"
#include "phew/walks/weighted_hop.hpp"

namespace phew {

// Moves the walkers to units of the far space. Visits to be listed are appended to the threads'
// lists.
Buckets hop_weighted(Team& team, const WeightedHop& hop, std::size_t num_far_units,
                     Buckets walkers);

// Moves the walkers to units of the far space, into at most kMostBucketsPerThread buckets per
// thread.
Buckets hop_wiring(Team& team, const Batch& batch, std::uint32_t link, const Wiring& wiring,
                   std::size_t num_far_units, Buckets walkers);

// A wiring that is one to one keeps all buckets, and the buckets of several links add up. Without a
// limit, each x = x + roll(x) of a model would double their number.
constexpr std::size_t kMostBucketsPerThread = 4;

}  // namespace phew
