// All that walkers need to know to hop over one weighted link.
#pragma once

#include <cstdint>

#include "phew/graph/graph_view.hpp"
#include "phew/options.hpp"
#include "phew/walks/recording.hpp"
#include "phew/walks/walkers.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/link_measure.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

struct WeightedHop {
  Batch batch;
  std::uint32_t link;
  EdgeView edges;
  WeightRows rows;
  LinkBuffers buffers;
  MassConverter convert;
  // For units whose edges all are zero.
  MassConverter equal;
  // The mass of each near unit's edges, as it was measured.
  const UnitMasses& near_totals;
  Granularity granularity;
  Recording recording;
  // The visits of walks from this one on are listed.
  std::uint64_t first_listed;
};

}  // namespace phew
