#include "phew/walkers.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <variant>

#include "phew/hop.hpp"

namespace phew {
namespace {

// As many as make it worth while to wake a thread.
constexpr std::size_t kWalkersPerPart = 8192;

constexpr auto kNoBucket = std::numeric_limits<std::uint32_t>::max();

std::vector<std::uint32_t> find_first_buckets(const DirectedSpace& space) {
  std::vector<std::uint32_t> first{0};
  for (const DirectedLink& link : space.links) {
    const bool weighted = std::holds_alternative<EdgeView>(link.edges);
    first.push_back(first.back() + (weighted ? space.num_units : 1));
  }
  return first;
}

// The position among the space's links of the one that the walker draws; -1 at the end of its walk.
std::int32_t choose_link(const ForkView& fork, const Batch& batch, std::uint32_t space_index,
                         Walker walker) {
  const std::uint32_t begin = fork.begin[walker.unit];
  const std::uint32_t num_links = fork.begin[walker.unit + 1] - begin;
  if (num_links == 0) return -1;
  std::uint32_t choice = 0;
  if (num_links > 1) {
    const std::uint64_t* cumulative = fork.cumulative + begin;
    const std::uint64_t value = draw(batch.key, batch.walk(walker.number), space_index,
                                     Purpose::kFork, cumulative[num_links - 1]);
    choice = first_above(cumulative, num_links, value);
  }
  return static_cast<std::int32_t>(fork.links[begin + choice]);
}

}  // namespace

Departures depart(Workers& workers, const Batch& batch, const DirectedSpace& space,
                  std::uint32_t space_index, const std::vector<Walker>& walkers) {
  Departures departures{{}, {}, find_first_buckets(space)};
  const std::vector<std::uint32_t>& first_bucket = departures.first_bucket;
  const std::size_t num_buckets = first_bucket.back();
  const std::size_t num_parts =
      std::clamp<std::size_t>(walkers.size() / kWalkersPerPart, 1, workers.size());
  const auto part_begin = [&](std::size_t part) { return walkers.size() * part / num_parts; };

  // A counting sort: each part counts its walkers by bucket ...
  std::vector<std::vector<std::uint32_t>> next(num_parts);
  std::vector<std::uint32_t> buckets(walkers.size());
  const ForkView fork = space.fork.view();
  workers.for_each(num_parts, [&](unsigned, std::size_t part) {
    std::vector<std::uint32_t>& counts = next[part];
    counts.resize(num_buckets);
    for (std::size_t i = part_begin(part); i < part_begin(part + 1); ++i) {
      const std::int32_t link = choose_link(fork, batch, space_index, walkers[i]);
      buckets[i] = kNoBucket;
      if (link < 0) continue;
      const auto at = static_cast<std::size_t>(link);
      const bool by_unit = std::holds_alternative<EdgeView>(space.links[at].edges);
      buckets[i] = first_bucket[at] + (by_unit ? walkers[i].unit : 0);
      ++counts[buckets[i]];
    }
  });
  // ... learns where its walkers of each bucket begin ...
  departures.bucket_begin.resize(num_buckets + 1);
  std::uint32_t begin = 0;
  for (std::size_t bucket = 0; bucket < num_buckets; ++bucket) {
    departures.bucket_begin[bucket] = begin;
    for (std::vector<std::uint32_t>& part : next) {
      const std::uint32_t count = part[bucket];
      part[bucket] = begin;
      begin += count;
    }
  }
  departures.bucket_begin[num_buckets] = begin;
  // ... and puts them there.
  departures.walkers.resize(begin);
  workers.for_each(num_parts, [&](unsigned, std::size_t part) {
    for (std::size_t i = part_begin(part); i < part_begin(part + 1); ++i) {
      if (buckets[i] != kNoBucket) departures.walkers[next[part][buckets[i]]++] = walkers[i];
    }
  });
  return departures;
}

}  // namespace phew
