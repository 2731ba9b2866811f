// The masses by which walks choose among the links of a unit when fork is "mass".
#pragma once

#include <vector>

#include "phew/graph/directed_graph.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew {

// Sets the fork masses of the graph of a direction from the measures of its links. Throws
// std::invalid_argument if the masses of a unit's links add up to 2^64 or more. That takes more
// than 255 links at a unit, because the mass of each is at most 2^56.
void set_fork_masses(DirectedGraph& graph, Direction direction,
                     const std::vector<LinkMeasure>& measures);

}  // namespace phew
