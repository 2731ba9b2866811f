#include "phew/graph/directed_graph.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <type_traits>
#include <utility>

namespace phew {
namespace {

// Keeps equal values once.
template <typename Value>
class Pool {
 public:
  std::shared_ptr<const Value> share(Value value) {
    return *values_.insert(std::make_shared<const Value>(std::move(value))).first;
  }

 private:
  struct Less {
    bool operator()(const std::shared_ptr<const Value>& left,
                    const std::shared_ptr<const Value>& right) const {
      return left->key() < right->key();
    }
  };

  std::set<std::shared_ptr<const Value>, Less> values_;
};

Wiring make_wiring(const WiringLink& link, Direction direction, const Flags& far_live) {
  const bool forward = direction == Direction::kForward;
  const auto& near_groups = forward ? link.source_groups : link.target_groups;
  const auto& far_groups = forward ? link.target_groups : link.source_groups;
  std::int32_t last_group = -1;
  for (const auto* groups : {&near_groups, &far_groups}) {
    for (const std::int32_t group : *groups) last_group = std::max(last_group, group);
  }
  Wiring wiring{near_groups, {}, {}, false};
  wiring.begin.resize(static_cast<std::size_t>(last_group) + 2);
  const auto is_joined = [&](std::size_t far) { return far_groups[far] >= 0 && far_live[far]; };
  for (std::size_t far = 0; far < far_groups.size(); ++far) {
    if (is_joined(far)) ++wiring.begin[static_cast<std::size_t>(far_groups[far]) + 1];
  }
  std::partial_sum(wiring.begin.begin(), wiring.begin.end(), wiring.begin.begin());
  wiring.members.resize(wiring.begin.back());
  std::vector<std::uint32_t> next(wiring.begin.begin(), wiring.begin.end() - 1);
  for (std::size_t far = 0; far < far_groups.size(); ++far) {
    if (!is_joined(far)) continue;
    wiring.members[next[static_cast<std::size_t>(far_groups[far])]++] =
        static_cast<std::uint32_t>(far);
  }
  std::vector<std::uint32_t> num_near(static_cast<std::size_t>(last_group) + 1);
  for (const std::int32_t group : near_groups) {
    if (group >= 0) ++num_near[static_cast<std::size_t>(group)];
  }
  wiring.one_to_one = true;
  for (std::size_t group = 0; group < num_near.size(); ++group) {
    const std::uint32_t num_members = wiring.begin[group + 1] - wiring.begin[group];
    if (num_near[group] > 1 || num_members > 1) wiring.one_to_one = false;
  }
  return wiring;
}

// Returns one flag per near unit: whether it has an edge to a live unit.
Flags find_leading_on(const EdgeView& edges, std::uint32_t num_near, const Link& link) {
  Flags leads_on(num_near);
  const auto& degrees = std::get<WeightedLink>(link).degrees(edges.near_is_target);
  if (!degrees.empty()) {
    std::transform(degrees.begin(), degrees.end(), leads_on.begin(),
                   [](std::uint32_t degree) { return degree > 0; });
    return leads_on;
  }
  for (std::uint32_t near = 0; near < num_near; ++near) {
    const std::uint8_t* live = edges.far_live + edges.first_far(near);
    leads_on[near] = edges.num_positions > 0 && std::find(live, live + edges.far_per_group, true) !=
                                                    live + edges.far_per_group;
  }
  return leads_on;
}

Flags find_leading_on(const std::shared_ptr<const Wiring>& wiring, std::uint32_t num_near,
                      const Link& /*link*/) {
  Flags leads_on(num_near);
  for (std::uint32_t near = 0; near < num_near; ++near) {
    const std::int32_t group = wiring->near_groups[near];
    if (group < 0) continue;
    const std::uint32_t* begin = &wiring->begin[static_cast<std::size_t>(group)];
    leads_on[near] = begin[0] < begin[1];
  }
  return leads_on;
}

// Dead units have no links, because no walker is ever on them.
Fork make_fork(const Graph& graph, const DirectedSpace& space, const Flags& live,
               const std::vector<bool>& is_shortcut) {
  std::vector<Flags> leads_on;
  leads_on.reserve(space.links.size());
  for (const DirectedLink& link : space.links) {
    leads_on.push_back(std::visit(
        [&](const auto& edges) {
          return find_leading_on(edges, space.num_units, graph.links[link.index]);
        },
        link.edges));
  }
  Fork fork;
  fork.begin.push_back(0);
  for (std::uint32_t unit = 0; unit < space.num_units; ++unit) {
    for (const bool shortcut : {false, true}) {
      // Shortcuts are taken only where there is no other link.
      if (!live[unit] || fork.links.size() > fork.begin.back()) break;
      for (std::uint32_t link = 0; link < space.links.size(); ++link) {
        if (is_shortcut[link] != shortcut || !leads_on[link][unit]) continue;
        fork.links.push_back(link);
        fork.cumulative.push_back(fork.links.size() - fork.begin.back());
      }
    }
    fork.begin.push_back(static_cast<std::uint32_t>(fork.links.size()));
  }
  return fork;
}

}  // namespace

EdgeView view_edges(const Graph& graph, const WeightedLink& link, Direction direction) {
  const bool forward = direction == Direction::kForward;
  const auto [group_stride, target_stride, source_stride, position_stride] = link.strides;
  EdgeView edges{};
  edges.num_groups = link.num_groups;
  edges.near_per_group = forward ? link.sources_per_group : link.targets_per_group;
  edges.far_per_group = forward ? link.targets_per_group : link.sources_per_group;
  edges.num_positions = link.num_positions;
  edges.group_stride = group_stride;
  edges.near_stride = forward ? source_stride : target_stride;
  edges.far_stride = forward ? target_stride : source_stride;
  edges.position_stride = position_stride;
  edges.offset = link.offset;
  const Flags& far_live = graph.live[forward ? link.target : link.source];
  edges.far_live = far_live.data();
  edges.all_far_live = std::find(far_live.begin(), far_live.end(), 0) == far_live.end();
  edges.near_is_target = !forward;
  return edges;
}

DirectedGraph::DirectedGraph(const Graph& graph, Direction direction) : spaces(graph.live.size()) {
  const bool forward = direction == Direction::kForward;
  Pool<Wiring> wirings;
  Pool<Fork> forks;
  std::vector<std::vector<bool>> is_shortcut(spaces.size());
  for (std::size_t space = 0; space < spaces.size(); ++space) {
    spaces[space].num_units = static_cast<std::uint32_t>(graph.live[space].size());
  }
  for (std::size_t index = 0; index < graph.links.size(); ++index) {
    std::visit(
        [&](const auto& link) {
          const std::uint32_t near = forward ? link.source : link.target;
          const std::uint32_t far = forward ? link.target : link.source;
          DirectedLink directed{static_cast<std::uint32_t>(index), far, {}};
          if constexpr (std::is_same_v<decltype(link), const WeightedLink&>) {
            directed.edges = view_edges(graph, link, direction);
          } else {
            directed.edges = wirings.share(make_wiring(link, direction, graph.live[far]));
          }
          spaces[near].links.push_back(std::move(directed));
          is_shortcut[near].push_back(link.shortcut);
        },
        graph.links[index]);
  }
  for (std::size_t space = 0; space < spaces.size(); ++space) {
    spaces[space].fork =
        forks.share(make_fork(graph, spaces[space], graph.live[space], is_shortcut[space]));
  }
  order.resize(spaces.size());
  std::iota(order.begin(), order.end(), 0);
  if (!forward) std::reverse(order.begin(), order.end());
  for (const std::uint32_t space : forward ? graph.entries : graph.exits) {
    for (std::uint32_t unit = 0; unit < spaces[space].num_units; ++unit) {
      if (graph.live[space][unit]) starts.push_back({space, unit});
    }
  }
}

}  // namespace phew
