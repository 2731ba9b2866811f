#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "phew/graph/directed_graph.hpp"
#include "phew/walks/link_hop.hpp"

namespace {

constexpr std::uint32_t kNumUnits = 5;
constexpr std::uint32_t kNumWalkers = 1000;

// Source unit u leads to target unit (u + 1) % kNumUnits.
phew::Graph make_rolled_graph() {
  std::vector<std::int32_t> sources(kNumUnits);
  std::iota(sources.begin(), sources.end(), 0);
  std::vector<std::int32_t> targets(kNumUnits);
  for (std::uint32_t unit = 0; unit < kNumUnits; ++unit) {
    targets[(unit + 1) % kNumUnits] = static_cast<std::int32_t>(unit);
  }
  const phew::Flags live(kNumUnits, 1);
  return {{live, live}, {phew::WiringLink{0, 1, sources, targets, false}}, {0}, {1}};
}

// Walker w is in bucket w % num_buckets, on unit w % kNumUnits.
phew::Buckets make_buckets(std::size_t num_buckets, phew::ChunkPool& pool) {
  phew::Buckets buckets(num_buckets, phew::Bucket(kNumUnits));
  for (std::uint32_t walker = 0; walker < kNumWalkers; ++walker) {
    buckets[walker % num_buckets].put(walker % kNumUnits, walker, pool);
  }
  return buckets;
}

}  // namespace

TEST_CASE("a wiring that is one to one keeps few buckets, and makes few of many") {
  const phew::Graph graph = make_rolled_graph();
  const phew::DirectedGraph directed(graph, phew::Direction::kForward);
  const phew::Wiring& wiring = *directed.spaces[0].links[0].wiring();
  REQUIRE(wiring.one_to_one);
  for (const unsigned num_threads : {1U, 3U}) {
    const std::size_t most = phew::kMostBucketsPerThread * num_threads;
    for (const std::size_t num_buckets : {std::size_t{1}, most, most + 1, 20 * most}) {
      phew::Team team(num_threads);
      const phew::Batch batch{{{0, 0}}, 0, kNumWalkers};
      phew::Buckets arrived = phew::hop_wiring(team, batch, 0, wiring, kNumUnits,
                                               make_buckets(num_buckets, team.pools[0]));
      CHECK(arrived.size() == (num_buckets <= most ? num_buckets : num_threads));
      std::vector<std::uint32_t> num_found(kNumWalkers);
      for (phew::Bucket& bucket : arrived) {
        for (std::uint32_t unit = 0; unit < kNumUnits; ++unit) {
          bucket.take_all(unit, team.pools[0], [&](const std::uint32_t* walkers, std::uint32_t n) {
            for (std::uint32_t i = 0; i < n; ++i) {
              ++num_found[walkers[i]];
              CHECK((walkers[i] + 1) % kNumUnits == unit);
            }
          });
        }
      }
      CHECK(num_found == std::vector<std::uint32_t>(kNumWalkers, 1));
    }
  }
}
