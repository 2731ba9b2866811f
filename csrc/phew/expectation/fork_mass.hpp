// The masses by which walks choose among the links of a unit when fork is "mass".
#pragma once

#include <vector>

#include "phew/graph/directed_graph.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew {

// Sets the fork masses of the graph of a direction from the measures of its links, one a link.
void set_fork_masses(DirectedGraph& graph, Direction direction,
                     const std::vector<LinkMeasure>& measures);

}  // namespace phew
