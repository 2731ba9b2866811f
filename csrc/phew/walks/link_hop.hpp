// Walkers hop over one link, in parallel.
#pragma once

#include <cstdint>

#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph_view.hpp"
#include "phew/options.hpp"
#include "phew/walks/recording.hpp"
#include "phew/walks/team.hpp"
#include "phew/walks/walkers.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

struct WeightedHop {
  Batch batch;
  std::uint32_t link;
  EdgeView edges;
  WeightRows rows;
  LinkBuffers buffers;
  MassConverter convert;
  Granularity granularity;
  Recording recording;
  // The first walk whose visits are listed.
  std::uint64_t first_listed;
};

// Moves the walkers to units of the far space. Visits to be listed are appended to the threads'
// lists.
Buckets hop_weighted(Team& team, const WeightedHop& hop, std::size_t num_far_units,
                     Buckets walkers);

Buckets hop_wiring(Team& team, const Batch& batch, std::uint32_t link, const Wiring& wiring,
                   std::size_t num_far_units, Buckets walkers);

}  // namespace phew
