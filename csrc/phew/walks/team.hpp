// The threads that make walks, and the memory that each of them has for itself.
#pragma once

#include <vector>

#include "phew/threads/workers.hpp"
#include "phew/walks/buckets.hpp"
#include "phew/walks/recording.hpp"

namespace phew {

struct Team {
  explicit Team(unsigned num_threads)
      : workers(num_threads), pools(workers.size()), listed(workers.size()) {}

  // Returns one bucket per thread, for walkers on the units of a space.
  Buckets make_buckets(std::size_t num_units) const {
    Buckets buckets(workers.size(), Bucket(num_units));
    return buckets;
  }

  Workers workers;
  std::vector<ChunkPool> pools;
  std::vector<Visits> listed;
};

}  // namespace phew
