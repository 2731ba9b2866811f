// The exact flow: the expected passages of a walk, computed without sampling.
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
  // By space: the probability that a walk passes each unit.
  std::vector<Probabilities> units;
  // By link: the probability that a walk takes it from each unit on its near side.
  std::vector<Probabilities> links;
};

// What the flow is computed from.
struct MeasuredGraph {
  const Graph& graph;
  const std::vector<LinkMeasure>& measures;
  int power;
};

// The flow over a link's near units, split into what goes by mass, per unit of mass, and, where all
// edges are zero, by number, per edge to a live unit.
struct NearShares {
  Probabilities by_mass;
  Probabilities by_number;
};

NearShares split_flow(const Probabilities& flow, const UnitMasses& totals, const EdgeView& edges);

// What walks start with: nothing but the probability to start on each unit.
Flow start_flow(const DirectedGraph& directed, std::size_t num_links);

Flow compute_flow(Workers& workers, const MeasuredGraph& measured, const DirectedGraph& directed,
                  const Load& load);

}  // namespace phew
