// Graphs with weights that walks and flow are tested on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "common/naive_walk.hpp"
#include "phew/graph/graph.hpp"
#include "phew/options.hpp"
#include "phew/walk_engine.hpp"
#include "phew/walks/recording.hpp"
#include "phew/weights/link_buffers.hpp"

// Makes a block with a projection beside it, a shortcut that only some units need, and a flatten.
// Each space has more units than a cache line has weights, and some units are dead.
//
//   0 --link 0: 2 groups--> 1 --link 1: 12 groups----> 2 --link 3: flatten--> 3 --link 5--> 4
//                           1 --link 4: shortcut-----> 2
//   0 --link 2: projection---------------------------> 2
phew::Graph make_graph();

// Makes a wide graph. It has hundreds of units and thousands of edges per unit, units that are rows
// and units that are columns of the weights, forks of weighted links and forks of wirings.
//
//   0 --link 0--> 1 --link 1: kernels of 9----> 2 --link 2: one to one--> 3 --link 4--> 4
//                 1 --link 5: 10 groups-------> 2 --link 3: any of 50---> 3
phew::Graph make_wide_graph();

// In listed visits, element e of link l's parameter has the number kNumbersPerLink * l + e.
constexpr std::uint64_t kNumbersPerLink = std::uint64_t{1} << 32;

// Returns listed visit i.
Visit visit_at(const phew::Visits& visits, std::size_t i);

std::vector<Visit> sort_visits(const phew::Visits& visits);

// The weights of a graph and the records of their visits.
struct Parameters {
  Weights weights;
  std::vector<std::vector<std::uint8_t>> marks;
  std::vector<std::vector<std::uint32_t>> counts;
  // Whether weights of -0 are absent edges.
  std::vector<bool> has_absent;

  // Makes random weights. One in eight is zero.
  explicit Parameters(const std::vector<std::uint32_t>& sizes);

  phew::Load loader(phew::Recording recording);
};

// Walks, and returns the visits of weights that no walk had visited before.
std::vector<Visit> find_new(const phew::WalkEngine& engine, Parameters& parameters,
                            phew::WalkRange range, unsigned num_threads, std::uint32_t batch_size);

// Sets the degrees of a link's units. Elements for which is_absent is true are absent edges.
void set_degrees(phew::Graph& graph, std::size_t link,
                 const std::function<bool(std::size_t element)>& is_absent);

// Takes edges out of the weighted links of make_graph: single ones and whole units, also out of
// units whose edges all are zero.
void take_edges_out(phew::Graph& graph, Parameters& parameters);

// Makes parameters for make_graph. All edges of some units of link 1 are zero, in both directions.
Parameters make_parameters();

// Makes parameters for make_wide_graph. All edges of a source and of a target of link 1 are zero,
// and most walkers of either direction pass the same unit of space 1 or 3.
Parameters make_wide_parameters();

// Returns all combinations of powers, fork rules and granularities.
std::vector<phew::Options> all_options();
