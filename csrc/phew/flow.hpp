// The exact flow: the expected passages of a walk, computed without sampling.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/directed_graph.hpp"
#include "phew/graph.hpp"
#include "phew/link_buffers.hpp"
#include "phew/link_measure.hpp"
#include "phew/options.hpp"
#include "phew/parallel.hpp"

namespace phew {

struct Flow {
  // By space: the probability that a walk passes each unit.
  std::vector<std::vector<double>> units;
  // By link: the probability that a walk takes it from each unit on its near side.
  std::vector<std::vector<double>> links;
};

// What the flow is computed from.
struct MeasuredGraph {
  const Graph& graph;
  const std::vector<LinkMeasure>& measures;
  int power;
};

Flow compute_flow(Workers& workers, const MeasuredGraph& measured, const DirectedGraph& directed,
                  const Load& load);

// Weights by the rate at which walks of both directions visit them, or their kernels: expected
// visits a walk. Those of rates within 6 % of each other are together; those that are never visited
// are left out.
struct RateHistogram {
  // Mean rates.
  std::vector<double> rates;
  // Numbers of weights.
  std::vector<double> numbers;
};

// Of one link. Looks at a share of the rows of weights, and takes the others to be alike.
RateHistogram count_rates(Workers& workers, const MeasuredGraph& measured, std::uint32_t index,
                          const Flow& forward, const Flow& backward, Granularity granularity,
                          double share, const LinkBuffers& buffers);

}  // namespace phew
