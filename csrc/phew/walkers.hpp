// The walkers of a batch: who stands where, and in which order they hop.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/directed_graph.hpp"
#include "phew/parallel.hpp"
#include "phew/philox.hpp"

namespace phew {

// A walk of a batch and the unit that it stands on.
struct Walker {
  std::uint32_t number;
  std::uint32_t unit;
};

// The walks of one direction have numbers two apart.
struct Batch {
  PhiloxKey key;
  std::uint64_t first_walk;

  std::uint64_t walk(std::uint32_t number) const { return first_walk + 2 * std::uint64_t{number}; }
};

// The walkers that leave a space, in order of their link and, where it is a weighted link, of their
// unit: one bucket a (weighted link, unit), one bucket a wiring link.
//
//   A space of 3 units with a weighted link 0 and a wiring link 1: buckets 0 1 2 are units 0 1 2 of
//   link 0, bucket 3 is link 1. Walkers on units 2 0 2 1 that chose links 0 1 0 1 are put in the
//   order 0 2 1 3, with bucket_begin 0 0 0 2 4.
struct Departures {
  std::vector<Walker> walkers;
  std::vector<std::uint32_t> bucket_begin;
  // Per link, its first bucket; and where the last link's end.
  std::vector<std::uint32_t> first_bucket;
};

// Lets each walker draw its link. Walkers on units that no link may be taken from are at the end of
// their walk and leave the list.
Departures depart(Workers& workers, const Batch& batch, const DirectedSpace& space,
                  std::uint32_t space_index, const std::vector<Walker>& walkers);

}  // namespace phew
