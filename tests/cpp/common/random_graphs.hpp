// Random graphs with forks, joins, shortcuts, groups, dead units, zero weights, absent edges, all
// dtypes and layouts.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/arithmetic/mass.hpp"
#include "phew/graph/graph.hpp"
#include "phew/walks/recording.hpp"
#include "phew/weights/link_buffers.hpp"

struct RandomGraph {
  phew::Graph graph;
  // Per link, the type and the bits of its weights, and the records of their visits.
  std::vector<phew::DType> dtypes;
  std::vector<std::vector<std::uint64_t>> bits;
  std::vector<std::vector<std::uint8_t>> marks;
  std::vector<std::vector<std::uint32_t>> counts;
  // Whether weights of -0 are absent edges.
  std::vector<bool> has_absent;

  // Makes a graph in which a path leads from an entry to an exit.
  explicit RandomGraph(std::uint32_t seed);

  phew::Load loader(phew::Recording recording);
};
