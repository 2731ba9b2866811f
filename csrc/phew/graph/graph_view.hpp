// Links and forks as a walk in one direction sees them, from the near unit that it stands on to
// the far units that it may hop to. Views own nothing and can be copied to a GPU as they are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/arithmetic/macros.hpp"

namespace phew {

// The edges of a weighted link.
//
//   The convolution of graph.hpp, forward: near_per_group 2, far_per_group 3, near_stride 9,
//   far_stride 18. Source unit 3 leads to the far units 3, 4, 5, at first elements 63, 81, 99.
struct EdgeView {
  std::uint32_t num_groups;
  std::uint32_t near_per_group;
  std::uint32_t far_per_group;
  std::uint32_t num_positions;
  std::int64_t group_stride;
  std::int64_t near_stride;
  std::int64_t far_stride;
  std::int64_t position_stride;
  std::int64_t offset;
  // One flag per unit of the far space, and whether all of them are set.
  const std::uint8_t* far_live;
  bool all_far_live;
  // Whether walks are backward.
  bool near_is_target;

  // A near unit leads to far_per_group far units, of which this is the first.
  PHEW_HOST_DEVICE std::uint32_t first_far(std::uint32_t near) const {
    return near / near_per_group * far_per_group;
  }

  // A near unit's edge to first_far at position 0 is this element.
  PHEW_HOST_DEVICE std::int64_t first_element(std::uint32_t near) const {
    return offset + near / near_per_group * group_stride + near % near_per_group * near_stride;
  }

  // Whether each element of a near unit's edges is equally far from the next one.
  PHEW_HOST_DEVICE bool are_evenly_spaced() const {
    return num_positions == 1 || far_stride == num_positions * position_stride;
  }

  PHEW_HOST_DEVICE std::size_t num_near() const { return std::size_t{num_groups} * near_per_group; }

  // Each near unit has so many edges, those to dead units included.
  PHEW_HOST_DEVICE std::size_t num_edges() const {
    return std::size_t{far_per_group} * num_positions;
  }
};

// The edges of a wiring link to live units.
//
//   near_groups 0 1 1 -1, far units 0 .. 3 of groups 1 0 1 1, of which 2 is dead:
//   begin 0 1 3, members 1 0 3. Near unit 1 leads to members[1 .. 3) = 0, 3.
struct WiringView {
  // Per near unit its group, -1 for none.
  const std::int32_t* near_groups;
  // Per group, where its members begin; then where the last group's members end.
  const std::uint32_t* begin;
  const std::uint32_t* members;

  PHEW_HOST_DEVICE std::uint32_t num_members(std::size_t group) const {
    return begin[group + 1] - begin[group];
  }

  // The part of a group's flow that each of its members is passed.
  PHEW_HOST_DEVICE double member_share(std::size_t group, double flow) const {
    return flow / num_members(group);
  }
};

// The links that walks may take from each unit of a space. These have an edge to a live unit, and
// are shortcuts only where there is no other.
//
//   Unit 0 may take links 0 and 1 of its space, unit 1 only link 1, unit 2 none; equal masses:
//   begin 0 2 3 3, links 0 1 1, cumulative 1 2 1.
struct ForkView {
  // Per unit, where its links begin; then where the last unit's links end.
  const std::uint32_t* begin;
  // On the CPU positions in the list of the links that leave the space; on a device, which has no
  // such list, indices of links in the graph.
  const std::uint32_t* links;
  // Per unit, the cumulative masses of its links.
  const std::uint64_t* cumulative;

  PHEW_HOST_DEVICE std::uint32_t num_links(std::size_t unit) const {
    return begin[unit + 1] - begin[unit];
  }

  // The part of a unit's flow that link `i` of the lists, one of the unit's, is passed.
  PHEW_HOST_DEVICE double link_share(std::size_t unit, std::uint32_t i, double flow) const {
    const std::uint64_t mass = cumulative[i] - (i > begin[unit] ? cumulative[i - 1] : 0);
    return flow * static_cast<double>(mass) / static_cast<double>(cumulative[begin[unit + 1] - 1]);
  }
};

}  // namespace phew
