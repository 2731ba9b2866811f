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

// Moves the walkers to units of the far space, into the buckets that `arrived` has, one for each
// thread that takes part. There may be walkers in them that came over other links. Visits to be
// listed are appended to the threads' lists.
void hop_weighted(Team& team, const WeightedHop& hop, Buckets walkers, Buckets& arrived);

// Moves the walkers likewise.
void hop_wiring(Team& team, const Batch& batch, std::uint32_t link, const Wiring& wiring,
                Buckets walkers, Buckets& arrived);

}  // namespace phew
