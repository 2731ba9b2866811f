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

// A wiring that is one to one moves up to so many buckets per thread as they are, and merges more
// into one per thread. The buckets of several links add up, so without this limit each
// x = x + roll(x) of a model would double their number.
constexpr std::size_t kMostBucketsPerThread = 4;

// Moves the walkers to units of the far space. Visits to be listed are appended to the threads'
// lists.
Buckets hop_weighted(Team& team, const WeightedHop& hop, std::size_t num_far_units,
                     Buckets walkers);

// Moves the walkers to units of the far space, into at most kMostBucketsPerThread buckets per
// thread.
Buckets hop_wiring(Team& team, const Batch& batch, std::uint32_t link, const Wiring& wiring,
                   std::size_t num_far_units, Buckets walkers);

}  // namespace phew
