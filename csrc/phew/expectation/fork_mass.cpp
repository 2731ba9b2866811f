#include "phew/expectation/fork_mass.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <utility>

namespace phew {
namespace {

// Masses saturate here, so that the sum over 255 links fits in 64 bits.
constexpr std::uint64_t kMassCap = std::uint64_t{1} << 56;

std::uint64_t add_capped(std::uint64_t left, std::uint64_t right) {
  return std::min(left + std::min(right, kMassCap), kMassCap);
}

// What the live members of each group have together, at least 1.
UnitMasses sum_members(const Wiring& wiring, const UnitMasses& far_masses) {
  UnitMasses masses(wiring.near_groups.size(), 1);
  UnitMasses groups(wiring.begin.size() - 1);
  for (std::size_t group = 0; group < groups.size(); ++group) {
    for (std::uint32_t i = wiring.begin[group]; i < wiring.begin[group + 1]; ++i) {
      groups[group] = add_capped(groups[group], far_masses[wiring.members[i]]);
    }
  }
  for (std::size_t near = 0; near < masses.size(); ++near) {
    const std::int32_t group = wiring.near_groups[near];
    if (group >= 0)
      masses[near] = std::max<std::uint64_t>(groups[static_cast<std::size_t>(group)], 1);
  }
  return masses;
}

// From the link's scale to the one that all links have in common.
void rescale(UnitMasses& masses, int shift) {
  for (std::uint64_t& mass : masses) {
    mass = std::clamp<std::uint64_t>(shift < 64 ? mass >> shift : 0, 1, kMassCap);
  }
}

}  // namespace

void set_fork_masses(DirectedGraph& graph, Direction direction,
                     const std::vector<LinkMeasure>& measures) {
  int common_exponent = std::numeric_limits<int>::min();
  for (const LinkMeasure& measure : measures) {
    if (measure.scale.has_mass) {
      common_exponent = std::max(common_exponent, measure.scale.exponent);
    }
  }
  std::vector<UnitMasses> link_masses(measures.size());
  // Of each unit: what its links have together, 1 where a walk ends. Links lead to spaces that come
  // later, so the last space is the first to be known.
  std::vector<UnitMasses> unit_masses(graph.spaces.size());
  for (auto index = graph.order.rbegin(); index != graph.order.rend(); ++index) {
    DirectedSpace& space = graph.spaces[*index];
    for (const DirectedLink& link : space.links) {
      UnitMasses& masses = link_masses[link.index];
      if (const Wiring* wiring = link.wiring()) {
        masses = sum_members(*wiring, unit_masses[link.far_space]);
      } else {
        const auto& [range, scale, totals] = measures[link.index];
        masses = direction == Direction::kForward ? totals.sources : totals.targets;
        rescale(masses, scale.has_mass ? common_exponent - scale.exponent : 0);
      }
    }
    Fork fork = *space.fork;
    UnitMasses& masses = unit_masses[*index];
    masses.resize(space.num_units, 1);
    for (std::uint32_t unit = 0; unit < space.num_units; ++unit) {
      std::uint64_t total = 0;
      for (std::uint32_t i = fork.begin[unit]; i < fork.begin[unit + 1]; ++i) {
        total += link_masses[space.links[fork.links[i]].index][unit];
        fork.cumulative[i] = total;
      }
      if (total > 0) masses[unit] = total;
    }
    space.fork = std::make_shared<const Fork>(std::move(fork));
  }
}

}  // namespace phew
