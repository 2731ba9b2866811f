// The walkers of a batch: where they start, and by which links they leave a space.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/arithmetic/philox.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/loops/loops.hpp"
#include "phew/walks/buckets.hpp"
#include "phew/walks/team.hpp"

namespace phew {

// The walks of one direction that move together. Their numbers are two apart.
struct Batch {
  PhiloxKey key;
  std::uint64_t first_walk;
  std::uint32_t num_walkers;

  std::uint64_t walk(std::uint32_t walker) const { return first_walk + 2 * std::uint64_t{walker}; }

  DrawKey draw_key(std::uint32_t index, Purpose purpose) const {
    return {key, first_walk, index, purpose};
  }
};

// Puts walkers on the units that they start on. Returns buckets per space.
std::vector<Buckets> place_walkers(Team& team, const DirectedGraph& graph, const Batch& batch);

// Lets each walker on a space draw its link. Returns buckets per link. Walkers on units that no
// link may be taken from are at the end of their walk.
std::vector<Buckets> depart(Team& team, const Batch& batch, const DirectedSpace& space,
                            std::uint32_t space_index, Buckets walkers);

}  // namespace phew
