#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "phew/walks/buckets.hpp"

namespace {

using Walkers = std::vector<std::uint32_t>;

Walkers range(std::uint32_t first, std::uint32_t size) {
  Walkers walkers(size);
  std::iota(walkers.begin(), walkers.end(), first);
  return walkers;
}

void put_all(phew::Bucket& bucket, std::size_t unit, const Walkers& walkers,
             phew::ChunkPool& pool) {
  for (const std::uint32_t walker : walkers) bucket.put(unit, walker, pool);
}

Walkers take_sorted(phew::Bucket& bucket, std::size_t unit, phew::ChunkPool& pool) {
  Walkers taken;
  bucket.take_all(unit, pool, [&](const std::uint32_t* walkers, std::uint32_t num_walkers) {
    taken.insert(taken.end(), walkers, walkers + num_walkers);
  });
  std::sort(taken.begin(), taken.end());
  return taken;
}

}  // namespace

TEST_CASE("a bucket gives back the walkers that were put on each unit") {
  for (const std::uint32_t size : {0U, 1U, 60U, 61U, 62U, 122U, 123U, 5000U}) {
    phew::ChunkPool pool;
    phew::Bucket bucket(3);
    for (std::uint32_t i = 0; i < size; ++i) {
      bucket.put(0, i, pool);
      bucket.put(2, i + 10'000, pool);
    }
    CHECK(bucket.num_walkers(0) == size);
    CHECK(bucket.num_walkers(1) == 0);
    CHECK(take_sorted(bucket, 2, pool) == range(10'000, size));
    CHECK(bucket.num_walkers(2) == 0);
    CHECK(take_sorted(bucket, 2, pool).empty());
    put_all(bucket, 2, range(7, size), pool);
    CHECK(take_sorted(bucket, 0, pool) == range(0, size));
    CHECK(take_sorted(bucket, 2, pool) == range(7, size));
  }
}

TEST_CASE("all walkers on a unit move to another bucket at once") {
  // These fill no chunk, a part of one, one, two, and three and a part.
  for (const std::uint32_t size : {0U, 1U, 61U, 122U, 200U}) {
    phew::ChunkPool pool;
    phew::Bucket from(2);
    phew::Bucket to(4);
    put_all(from, 1, range(0, size), pool);
    from.move_all(1, to, 3);
    CHECK(from.num_walkers(1) == 0);
    put_all(to, 3, range(size, 50), pool);
    CHECK(to.num_walkers(3) == size + 50);
    put_all(from, 1, range(9, 70), pool);
    CHECK(take_sorted(to, 3, pool) == range(0, size + 50));
    CHECK(take_sorted(from, 1, pool) == range(9, 70));
  }
}

TEST_CASE("walkers that are forgotten are in no bucket") {
  phew::ChunkPool pool;
  phew::Buckets buckets(2, phew::Bucket(3));
  put_all(buckets[0], 0, range(0, 100), pool);
  put_all(buckets[1], 0, range(0, 70), pool);
  put_all(buckets[1], 2, range(0, 5), pool);
  CHECK(phew::count_walkers(buckets, 0, 3) == 175);
  CHECK(phew::count_walkers(buckets, 1, 2) == 5);
  buckets[1].forget(0);
  CHECK(phew::count_walkers(buckets, 0, 3) == 105);
  CHECK(take_sorted(buckets[1], 0, pool).empty());
  put_all(buckets[1], 0, range(3, 62), pool);
  CHECK(take_sorted(buckets[1], 0, pool) == range(3, 62));
}

TEST_CASE("chunks may be given back to another pool, until both are reset") {
  phew::ChunkPool first;
  phew::ChunkPool second;
  for (int batch = 0; batch < 3; ++batch) {
    phew::Bucket bucket(1);
    put_all(bucket, 0, range(0, 40'000), first);
    CHECK(take_sorted(bucket, 0, second) == range(0, 40'000));
    phew::Bucket other(1);
    put_all(other, 0, range(5, 40'000), second);
    CHECK(take_sorted(other, 0, first) == range(5, 40'000));
    first.reset();
    second.reset();
  }
}

TEST_CASE("walkers that move to a unit join those that are there") {
  for (const std::uint32_t size : {0U, 1U, 61U, 62U, 200U}) {
    for (const std::uint32_t num_there : {0U, 1U, 60U, 61U, 122U, 300U}) {
      phew::ChunkPool pool;
      phew::Bucket from(2);
      phew::Bucket to(4);
      put_all(from, 1, range(1000, size), pool);
      put_all(to, 3, range(1000 + size, num_there), pool);
      from.move_all(1, to, 3);
      CHECK(from.num_walkers(1) == 0);
      CHECK(to.num_walkers(3) == size + num_there);
      put_all(to, 3, range(1000 + size + num_there, 70), pool);
      CHECK(take_sorted(to, 3, pool) == range(1000, size + num_there + 70));
    }
  }
}
