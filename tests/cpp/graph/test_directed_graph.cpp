#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "phew/graph/directed_graph.hpp"

namespace {

using Indices = std::vector<std::uint32_t>;

phew::WeightedLink dense(std::uint32_t source, std::uint32_t target, std::uint32_t num_sources,
                         std::uint32_t num_targets) {
  return {source, target, 1, num_targets, num_sources, 1, {0, num_sources, 1, 1}, 0, false};
}

}  // namespace

TEST_CASE("a grouped convolution is viewed from either side") {
  // This is the example of graph.hpp.
  const phew::WeightedLink link{0, 1, 2, 3, 2, 9, {54, 18, 9, 1}, 0, false};
  const phew::Graph graph{{{1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}}, {link}, {0}, {1}};
  const auto forward = phew::view_edges(graph, link, phew::Direction::kForward);
  CHECK(forward.first_far(3) == 3);
  CHECK(forward.first_element(3) + forward.far_stride == 81);
  const auto backward = phew::view_edges(graph, link, phew::Direction::kBackward);
  CHECK(backward.first_far(4) == 2);
  CHECK(backward.first_element(4) + backward.far_stride == 81);
}

TEST_CASE("a wiring lists the live members of each group") {
  const phew::WiringLink link{0, 1, {0, 1, 1, -1}, {1, 0, 1, 1}, false};
  const phew::DirectedGraph graph({{{1, 1, 1, 1}, {1, 1, 0, 1}}, {link}, {0}, {1}},
                                  phew::Direction::kForward);
  const phew::Wiring& wiring = *graph.spaces[0].links[0].wiring();
  CHECK(wiring.begin == Indices{0, 1, 3});
  CHECK(wiring.members == Indices{1, 0, 3});
}

TEST_CASE("walks take links between live units, shortcuts where there is no other") {
  const phew::Graph graph{{{1, 1, 1}, {1, 0, 1}, {1}},
                          {phew::WiringLink{0, 1, {0, 1, -1}, {0, 1, 1}, false}, dense(0, 2, 3, 1),
                           phew::WiringLink{0, 1, {0, -1, -1}, {1, 1, 1}, true},
                           phew::WiringLink{1, 2, {0, 0, -1}, {0}, true}},
                          {0},
                          {2}};
  const phew::DirectedGraph forward(graph, phew::Direction::kForward);
  CHECK(forward.spaces[0].fork->begin == Indices{0, 2, 4, 5});
  CHECK(forward.spaces[0].fork->links == Indices{0, 1, 0, 1, 1});
  CHECK(forward.spaces[0].fork->cumulative == std::vector<std::uint64_t>{1, 2, 1, 2, 1});
  CHECK(forward.spaces[1].fork->begin == Indices{0, 1, 1, 1});
  CHECK(forward.spaces[2].fork->begin == Indices{0, 0});
  const phew::DirectedGraph backward(graph, phew::Direction::kBackward);
  CHECK(backward.spaces[2].fork->links == Indices{0});
  CHECK(backward.spaces[2].links[backward.spaces[2].fork->links[0]].index == 1);
}

TEST_CASE("equal wirings and forks are one") {
  const std::vector<std::int32_t> identity{0, 1};
  const phew::Graph graph{{{1, 1}, {1, 1}, {1, 1}, {1, 0}},
                          {phew::WiringLink{0, 1, identity, identity, false},
                           phew::WiringLink{1, 2, identity, identity, false},
                           phew::WiringLink{2, 3, identity, identity, false}},
                          {0},
                          {3}};
  const auto& spaces = phew::DirectedGraph(graph, phew::Direction::kForward).spaces;
  CHECK(spaces[0].links[0].wiring() == spaces[1].links[0].wiring());
  CHECK(spaces[0].links[0].wiring() != spaces[2].links[0].wiring());
  CHECK(spaces[0].fork.get() == spaces[1].fork.get());
  CHECK(spaces[0].fork.get() != spaces[2].fork.get());
}

TEST_CASE("walks start on the live units of the entries or exits in turn") {
  const phew::Graph graph{{{1, 0, 1}, {1, 1}, {0, 1}}, {}, {1, 0}, {2}};
  const phew::DirectedGraph forward(graph, phew::Direction::kForward);
  REQUIRE(forward.starts.size() == 4);
  CHECK(forward.starts[0].space == 1);
  CHECK(forward.starts[3].unit == 2);
  CHECK(forward.order == Indices{0, 1, 2});
  const phew::DirectedGraph backward(graph, phew::Direction::kBackward);
  REQUIRE(backward.starts.size() == 1);
  CHECK(backward.starts[0].unit == 1);
  CHECK(backward.order == Indices{2, 1, 0});
}
