// The walk graph as the walks of one direction see it. Forward walks follow the links from source
// to target through the spaces in order, backward walks the other way. All code that works on a
// DirectedGraph knows only near and far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <variant>
#include <vector>

#include "phew/graph/graph.hpp"
#include "phew/graph/graph_view.hpp"

namespace phew {

enum class Direction : std::uint8_t { kForward, kBackward };

// The owner of a WiringView.
struct Wiring {
  std::vector<std::int32_t> near_groups;
  std::vector<std::uint32_t> begin;
  std::vector<std::uint32_t> members;
  // Whether no group has several near units or several members. It follows from the other fields.
  bool one_to_one;

  WiringView view() const { return {near_groups.data(), begin.data(), members.data()}; }

  auto key() const { return std::tie(near_groups, begin, members); }
};

// The owner of a ForkView.
struct Fork {
  std::vector<std::uint32_t> begin;
  std::vector<std::uint32_t> links;
  std::vector<std::uint64_t> cumulative;

  ForkView view() const { return {begin.data(), links.data(), cumulative.data()}; }

  auto key() const { return std::tie(begin, links, cumulative); }
};

struct DirectedLink {
  // Its position in Graph::links.
  std::uint32_t index;
  std::uint32_t far_space;
  // Links with equal wirings, such as those of repeated layers, share one.
  std::variant<EdgeView, std::shared_ptr<const Wiring>> edges;

  // Null for weighted links.
  const Wiring* wiring() const {
    const auto* shared = std::get_if<std::shared_ptr<const Wiring>>(&edges);
    return shared == nullptr ? nullptr : shared->get();
  }
};

struct DirectedSpace {
  std::uint32_t num_units;
  // The links that walks may follow from here, by index.
  std::vector<DirectedLink> links;
  // Its links have equal masses until fork masses are measured. Until then equal forks are shared.
  std::shared_ptr<const Fork> fork;
};

struct Start {
  std::uint32_t space;
  std::uint32_t unit;
};

// Returns a view of the edges of one of the graph's links.
EdgeView view_edges(const Graph& graph, const WeightedLink& link, Direction direction);

struct DirectedGraph {
  // The graph's live flags are referred to, not copied.
  DirectedGraph(const Graph& graph, Direction direction);

  std::vector<DirectedSpace> spaces;
  // The indices of the spaces, in an order in which every link leads from an earlier to a later
  // one.
  std::vector<std::uint32_t> order;
  // Walks start on these live units in turn.
  std::vector<Start> starts;
};

}  // namespace phew
