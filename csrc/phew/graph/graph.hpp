// The walk graph as it is handed to the engine: spaces of units, joined by links.
#pragma once

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

namespace phew {

// Edges that are the weights of one parameter, as a strided view of it. Inside each group every
// source unit has an edge to every target unit at each kernel position, but for absent ones.
//
//   A convolution of 4 -> 6 channels with 3x3 kernels in 2 groups, weight (6, 2, 3, 3): num_groups
//   2, targets_per_group 3, sources_per_group 2, num_positions 9, strides (54, 18, 9, 1). Source
//   unit 3 is source 1 of group 1; its edge to target unit 4 at position 5 is element
//   1 * 54 + 1 * 18 + 1 * 9 + 5 = 86.
struct WeightedLink {
  std::uint32_t source;
  std::uint32_t target;
  std::uint32_t num_groups;
  std::uint32_t targets_per_group;
  std::uint32_t sources_per_group;
  std::uint32_t num_positions;
  // The strides of group, target, source and position, in elements of the contiguous parameter.
  std::array<std::int64_t, 4> strides;
  std::int64_t offset;
  bool shortcut;
  // Per source unit the number of its edges to live units, and per target unit. They are empty if
  // no edge is absent: then each unit of a group has edges to all others of it.
  std::vector<std::uint32_t> source_degrees = {};
  std::vector<std::uint32_t> target_degrees = {};

  const std::vector<std::uint32_t>& degrees(bool of_targets) const {
    return of_targets ? target_degrees : source_degrees;
  }
};

// Edges without weights: a source and a target unit are joined where their groups are equal and
// not -1.
//
//   Flattening 2 channels of 2 pixels: source_groups 0 1, target_groups 0 0 1 1. Source unit 1 has
//   edges to the target units 2 and 3.
struct WiringLink {
  std::uint32_t source;
  std::uint32_t target;
  std::vector<std::int32_t> source_groups;
  std::vector<std::int32_t> target_groups;
  bool shortcut;
};

using Link = std::variant<WeightedLink, WiringLink>;

using Flags = std::vector<std::uint8_t>;

struct Graph {
  // Per space, one flag per unit: whether it lies on a path from an entry to an exit. Links lead
  // from an earlier to a later space.
  std::vector<Flags> live;
  std::vector<Link> links;
  std::vector<std::uint32_t> entries;
  std::vector<std::uint32_t> exits;
};

}  // namespace phew
