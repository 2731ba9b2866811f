#include "phew/walks/link_hop.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "phew/arithmetic/draw.hpp"
#include "phew/loops/loops.hpp"
#include "phew/threads/workers.hpp"
#include "phew/walks/block_hop.hpp"

namespace phew {
namespace {

// Cuts the units with walkers into blocks that keep all threads busy. A unit that has enough
// walkers for several threads makes a block of its own for each bucket.
std::vector<Block> cut_blocks(const WeightedHop& hop, const Buckets& walkers,
                              unsigned num_threads) {
  constexpr std::size_t kFewWalkers = 1024;
  const EdgeView& edges = hop.edges;
  const std::size_t num_walkers = count_walkers(walkers, 0, edges.num_near());
  const std::size_t many_walkers =
      std::max(kFewWalkers, num_walkers / (std::size_t{4} * num_threads));
  const bool near_is_row = hop.rows.rows_are_targets() == edges.near_is_target;
  const std::uint32_t most_units = num_units_per_block(edges, near_is_row, num_threads);
  std::vector<Block> blocks;
  for (std::uint32_t group = 0; group < edges.num_groups; ++group) {
    const std::size_t first_of_group = std::size_t{group} * edges.near_per_group;
    for (std::uint32_t first = 0; first < edges.near_per_group; first += most_units) {
      const std::uint32_t num_units = std::min(most_units, edges.near_per_group - first);
      const std::size_t num_here = count_walkers(walkers, first_of_group + first, num_units);
      if (num_here == 0) continue;
      if (num_here < many_walkers || num_threads == 1) {
        blocks.push_back({group, first, num_units, 0, walkers.size()});
        continue;
      }
      for (std::uint32_t unit = first; unit < first + num_units; ++unit) {
        for (std::size_t bucket = 0; bucket < walkers.size(); ++bucket) {
          if (walkers[bucket].num_walkers(first_of_group + unit) == 0) continue;
          blocks.push_back({group, unit, 1, bucket, 1});
        }
      }
    }
  }
  return blocks;
}

// Lets the walkers of one bucket on a unit hop to any member of the unit's group.
void hop_to_members(const Batch& batch, std::uint32_t link, const WiringView& wiring,
                    std::size_t unit, Bucket& from, Bucket& to, ChunkPool& pool) {
  const std::int32_t group = wiring.near_groups[unit];
  if (group < 0) return;
  const std::uint32_t* members = wiring.members + wiring.begin[group];
  const std::uint32_t num_members = wiring.num_members(static_cast<std::size_t>(group));
  const DrawKey draw_key = batch.draw_key(link, Purpose::kEdge);
  std::array<std::uint64_t, WalkerChunk::kCapacity> draws;
  from.take_all(unit, pool, [&](const std::uint32_t* walkers, std::uint32_t num_walkers) {
    if (num_members == 1) {
      for (std::uint32_t i = 0; i < num_walkers; ++i) to.put(members[0], walkers[i], pool);
      return;
    }
    loops().draw(draw_key, walkers, num_walkers, num_members, draws.data());
    for (std::uint32_t i = 0; i < num_walkers; ++i) {
      to.put(members[draws[i]], walkers[i], pool);
    }
  });
}

// Moves all walkers of a bucket on a unit at once.
void hop_one_to_one(const WiringView& wiring, std::size_t num_near, Buckets walkers,
                    Buckets& arrived) {
  for (std::size_t unit = 0; unit < num_near; ++unit) {
    const std::int32_t group = wiring.near_groups[unit];
    if (group < 0 || wiring.num_members(static_cast<std::size_t>(group)) == 0) continue;
    const std::uint32_t member = wiring.members[wiring.begin[group]];
    for (std::size_t i = 0; i < walkers.size(); ++i) {
      walkers[i].move_all(unit, arrived[i % arrived.size()], member);
    }
  }
}

}  // namespace

void hop_weighted(Team& team, const WeightedHop& hop, Buckets walkers, Buckets& arrived) {
  const auto num_threads = static_cast<unsigned>(arrived.size());
  std::vector<std::unique_ptr<BlockHop>> hops(num_threads);
  const std::vector<Block> blocks = cut_blocks(hop, walkers, num_threads);
  team.workers.for_each(
      blocks.size(),
      [&](unsigned thread, std::size_t i) {
        std::unique_ptr<BlockHop>& block_hop = hops[thread];
        if (!block_hop) block_hop = std::make_unique<BlockHop>(hop, team.listed[thread]);
        block_hop->run(blocks[i], walkers, arrived[thread], team.pools[thread]);
      },
      num_threads);
}

void hop_wiring(Team& team, const Batch& batch, std::uint32_t link, const Wiring& wiring,
                Buckets walkers, Buckets& arrived) {
  const WiringView view = wiring.view();
  const std::size_t num_near = wiring.near_groups.size();
  if (wiring.one_to_one) return hop_one_to_one(view, num_near, std::move(walkers), arrived);
  const auto num_threads = static_cast<unsigned>(arrived.size());
  const std::size_t num_parts = std::min<std::size_t>(num_near, std::size_t{64} * num_threads);
  team.workers.for_each(
      num_parts * walkers.size(),
      [&](unsigned thread, std::size_t task) {
        Bucket& from = walkers[task / num_parts];
        const std::size_t part = task % num_parts;
        for (std::size_t unit = num_near * part / num_parts;
             unit < num_near * (part + 1) / num_parts; ++unit) {
          hop_to_members(batch, link, view, unit, from, arrived[thread], team.pools[thread]);
        }
      },
      num_threads);
}

}  // namespace phew
