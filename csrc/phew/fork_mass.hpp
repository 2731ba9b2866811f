// The masses by which walks choose among the links of a unit when fork is "mass".
#pragma once

#include <cstdint>
#include <vector>

#include "phew/directed_graph.hpp"
#include "phew/link_buffers.hpp"
#include "phew/mass.hpp"
#include "phew/parallel.hpp"

namespace phew {

// One mass a near unit.
using UnitMasses = std::vector<std::uint64_t>;

// The masses of all edges of each unit together, in the link's scale.
UnitMasses sum_edges(Workers& workers, const EdgeView& edges, const LinkBuffers& buffers,
                     const MassScale& scale, int power);

// Sets the graph's fork masses. `link_masses` has for each weighted link what sum_edges returned,
// `scales` its scale; both are ignored where the link is a wiring link.
void set_fork_masses(DirectedGraph& graph, std::vector<UnitMasses> link_masses,
                     const std::vector<MassScale>& scales);

}  // namespace phew
