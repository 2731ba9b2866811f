// The exact flow: how often a walk is expected to pass each unit, computed without sampling.
#pragma once

#include <cstddef>
#include <vector>

#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew {

using Probabilities = std::vector<double>;

struct Flow {
  // Per space, the probability that a walk passes each unit.
  std::vector<Probabilities> units;
  // Per link, the probability that a walk takes it from each unit on its near side.
  std::vector<Probabilities> links;
};

// The flow is computed from this.
struct MeasuredGraph {
  const Graph& graph;
  const std::vector<LinkMeasure>& measures;
  int power;
};

// The flow that a link's near units pass on over each of their edges. It is in proportion to an
// edge's mass, or equal for all edges to live units where all of a unit's edges are zero.
//
//   Flow 0.6 over edges of masses 1 and 2: per_mass 0.2, per_edge 0. Over two edges of mass 0:
//   per_mass 0, per_edge 0.3.
struct NearShares {
  Probabilities per_mass;
  Probabilities per_edge;
};

// The degrees are those of the near units (see WeightedLink).
NearShares split_flow(const Probabilities& flow, const UnitMasses& totals, const EdgeView& edges,
                      const std::vector<std::uint32_t>& degrees);

// Returns a flow that holds nothing but the probability that a walk starts on each unit.
Flow start_flow(const DirectedGraph& directed, std::size_t num_links);

Flow compute_flow(Workers& workers, const MeasuredGraph& measured, const DirectedGraph& directed,
                  const Load& load);

}  // namespace phew
