#include "phew/walks/walkers.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "phew/arithmetic/draw.hpp"

namespace phew {
namespace {

// With so many walkers it is worth waking a thread.
constexpr std::size_t kWalkersPerPart = 8192;

// Lets the walkers of one bucket on a unit draw among its links.
void draw_links(const Batch& batch, const ForkView& fork, std::uint32_t space_index,
                std::size_t unit, Bucket& from, std::size_t bucket_index,
                std::vector<Buckets>& departing, ChunkPool& pool) {
  const std::uint32_t begin = fork.begin[unit];
  const std::uint32_t num_links = fork.num_links(unit);
  const std::uint64_t* cumulative = fork.cumulative + begin;
  const DrawKey draw_key = batch.draw_key(space_index, Purpose::kFork);
  std::array<std::uint64_t, WalkerChunk::kCapacity> draws;
  from.take_all(unit, pool, [&](const std::uint32_t* walkers, std::uint32_t num_walkers) {
    loops().draw(draw_key, walkers, num_walkers, cumulative[num_links - 1], draws.data());
    for (std::uint32_t i = 0; i < num_walkers; ++i) {
      const std::uint32_t choice = first_above(cumulative, num_links, draws[i]);
      departing[fork.links[begin + choice]][bucket_index].put(unit, walkers[i], pool);
    }
  });
}

}  // namespace

std::vector<Buckets> place_walkers(Team& team, const DirectedGraph& graph, const Batch& batch) {
  std::vector<Buckets> walkers(graph.spaces.size());
  std::size_t num_buckets = team.workers.size();
  for (const Start& start : graph.starts) {
    Buckets& buckets = walkers[start.space];
    if (!buckets.empty()) continue;
    buckets = team.make_buckets(graph.spaces[start.space].num_units, batch.num_walkers);
    num_buckets = std::min(num_buckets, buckets.size());
  }
  const std::size_t num_starts = graph.starts.size();
  const std::size_t num_parts =
      std::clamp<std::size_t>(batch.num_walkers / kWalkersPerPart, 1, num_buckets);
  const std::size_t first_start = batch.first_walk / 2 % num_starts;
  team.workers.for_each(num_parts, [&](unsigned thread, std::size_t part) {
    const auto begin = static_cast<std::uint32_t>(batch.num_walkers * part / num_parts);
    const auto end = static_cast<std::uint32_t>(batch.num_walkers * (part + 1) / num_parts);
    std::size_t next = (first_start + begin) % num_starts;
    for (std::uint32_t walker = begin; walker < end; ++walker) {
      const auto [space, unit] = graph.starts[next];
      walkers[space][part].put(unit, walker, team.pools[thread]);
      if (++next == num_starts) next = 0;
    }
  });
  return walkers;
}

std::vector<Buckets> depart(Team& team, const Batch& batch, const DirectedSpace& space,
                            std::uint32_t space_index, Buckets walkers) {
  std::vector<Buckets> departing(space.links.size());
  const ForkView fork = space.fork->view();
  if (departing.empty()) return departing;
  if (departing.size() == 1) {
    for (std::size_t unit = 0; unit < space.num_units; ++unit) {
      if (fork.num_links(unit) > 0) continue;
      for (Bucket& bucket : walkers) bucket.forget(unit);
    }
    departing[0] = std::move(walkers);
    return departing;
  }
  for (Buckets& buckets : departing) buckets.assign(walkers.size(), Bucket(space.num_units));
  // No two tasks put walkers into the same place, because walkers stay on their unit and in the
  // bucket of the same number.
  const std::size_t num_parts =
      std::min<std::size_t>(space.num_units, std::size_t{64} * team.workers.size());
  team.workers.for_each(num_parts * walkers.size(), [&](unsigned thread, std::size_t task) {
    const std::size_t index = task / num_parts;
    const std::size_t part = task % num_parts;
    for (std::size_t unit = space.num_units * part / num_parts;
         unit < space.num_units * (part + 1) / num_parts; ++unit) {
      if (fork.num_links(unit) == 1) {
        walkers[index].move_all(unit, departing[fork.links[fork.begin[unit]]][index], unit);
      } else if (fork.num_links(unit) > 1) {
        draw_links(batch, fork, space_index, unit, walkers[index], index, departing,
                   team.pools[thread]);
      }
    }
  });
  return departing;
}

}  // namespace phew
