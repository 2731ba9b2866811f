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

TEST_CASE("walkers that hop one to one join those that came over other links") {
  const phew::Graph graph = make_rolled_graph();
  const phew::DirectedGraph directed(graph, phew::Direction::kForward);
  const phew::Wiring& wiring = *directed.spaces[0].links[0].wiring();
  REQUIRE(wiring.one_to_one);
  for (const unsigned num_threads : {1U, 3U}) {
    for (const std::size_t num_buckets : {1U, 3U, 7U, 100U}) {
      phew::Team team(num_threads);
      const phew::Batch batch{{{0, 0}}, 0, kNumWalkers};
      phew::Buckets arrived = team.make_buckets(kNumUnits, kNumWalkers);
      REQUIRE(arrived.size() == num_threads);
      constexpr std::uint32_t kNumTimes = 5;
      for (std::uint32_t i = 0; i < kNumTimes; ++i) {
        phew::hop_wiring(team, batch, 0, wiring, make_buckets(num_buckets, team.pools[0]), arrived);
      }
      CHECK(phew::count_walkers(arrived, 0, kNumUnits) == kNumTimes * kNumWalkers);
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
      CHECK(num_found == std::vector<std::uint32_t>(kNumWalkers, kNumTimes));
    }
  }
}

TEST_CASE("buckets take no more memory where threads are many and walkers are few") {
  const phew::Team team(9);
  CHECK(team.make_buckets(1000, 1 << 21).size() == 9);
  CHECK(team.make_buckets(1'000'000, 1 << 21).size() == 8);
  CHECK(team.make_buckets(10'000'000, 1 << 21).size() == 1);
  CHECK(team.make_buckets(0, 0).size() == 1);
}
