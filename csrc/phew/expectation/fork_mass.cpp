#include "phew/expectation/fork_mass.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace phew {
namespace {

// The mass of a link saturates here, so that the sum over 255 links fits in 64 bits.
constexpr std::uint64_t kMassCap = std::uint64_t{1} << 56;

std::uint64_t add_capped(std::uint64_t left, std::uint64_t right) {
  return std::min(left + std::min(right, kMassCap), kMassCap);
}

// Returns per near unit the sum of the masses of its group's live members, at least 1.
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

// Brings masses from the link's scale to the one that all links have in common.
void rescale(UnitMasses& masses, int shift) {
  for (std::uint64_t& mass : masses) {
    mass = std::clamp<std::uint64_t>(shift < 64 ? mass >> shift : 0, 1, kMassCap);
  }
}

// Sets the cumulative masses of a space's fork. Returns the mass of each unit's links together, 1
// where a walk ends.
UnitMasses set_masses(DirectedSpace& space, std::uint32_t space_index,
                      const std::vector<UnitMasses>& link_masses) {
  Fork fork = *space.fork;
  UnitMasses unit_masses(space.num_units, 1);
  for (std::uint32_t unit = 0; unit < space.num_units; ++unit) {
    std::uint64_t total = 0;
    for (std::uint32_t i = fork.begin[unit]; i < fork.begin[unit + 1]; ++i) {
      const std::uint64_t mass = link_masses[space.links[fork.links[i]].index][unit];
      if (mass > std::numeric_limits<std::uint64_t>::max() - total) {
        throw std::invalid_argument(
            "fork must be 'uniform' where the masses of a unit's links add up to 2^64 or more, got"
            " 'mass' and " +
            std::to_string(fork.view().num_links(unit)) + " links at unit " + std::to_string(unit) +
            " of space " + std::to_string(space_index) + ".");
      }
      fork.cumulative[i] = total += mass;
    }
    if (total > 0) unit_masses[unit] = total;
  }
  space.fork = std::make_shared<const Fork>(std::move(fork));
  return unit_masses;
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
  // Links lead to spaces that come later, so the last space is the first whose masses are known.
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
    unit_masses[*index] = set_masses(space, *index, link_masses);
  }
}

}  // namespace phew
