// The threads that make walks, and the memory that each of them has for itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "phew/threads/workers.hpp"
#include "phew/walks/buckets.hpp"
#include "phew/walks/recording.hpp"

namespace phew {

struct Team {
  explicit Team(unsigned num_threads)
      : workers(num_threads), pools(workers.size()), listed(workers.size()) {}

  // Returns one bucket per thread for the walkers of a batch on the units of a space. A bucket
  // takes memory and time for each unit, so where units are many beside walkers fewer threads put
  // walkers there: with U units and W walkers, at most 4 W / U.
  Buckets make_buckets(std::size_t num_units, std::size_t num_walkers) const {
    const std::size_t most = 4 * num_walkers / std::max<std::size_t>(num_units, 1);
    Buckets buckets(std::clamp<std::size_t>(most, 1, workers.size()), Bucket(num_units));
    return buckets;
  }

  Workers workers;
  std::vector<ChunkPool> pools;
  std::vector<Visits> listed;
};

}  // namespace phew
