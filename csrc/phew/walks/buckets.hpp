// The walkers of a batch, sorted by the unit that they stand on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace phew {

// A part of the list of a unit's walkers. Walkers are added to the last chunk of a list. A chunk is
// aligned to its size, so that an address in it tells where it begins and whether it is full.
struct alignas(256) WalkerChunk {
  static constexpr std::size_t kCapacity = 61;

  WalkerChunk* previous;
  std::uint32_t num_walkers;
  std::uint32_t walkers[kCapacity];
};
static_assert(sizeof(WalkerChunk) == 256);

constexpr std::size_t kHugePageSize = std::size_t{1} << 21;

struct alignas(kHugePageSize) ChunkBlock {
  static constexpr std::size_t kNumChunks = kHugePageSize / sizeof(WalkerChunk);

  WalkerChunk chunks[kNumChunks];
};

// The memory of the chunks that one thread takes. Chunks may be given back to another thread's
// pool.
class ChunkPool {
 public:
  WalkerChunk* take() {
    if (free_ == nullptr) return take_new();
    WalkerChunk* chunk = free_;
    free_ = chunk->previous;
    return chunk;
  }

  void give_back(WalkerChunk* chunk) {
    chunk->previous = free_;
    free_ = chunk;
  }

  // Takes all chunks back, also the ones that were given to other pools.
  void reset() {
    free_ = nullptr;
    num_taken_ = 0;
  }

 private:
  WalkerChunk* take_new();

  std::vector<std::unique_ptr<ChunkBlock>> blocks_;
  // So many chunks of the blocks are in use or in the list of free ones.
  std::size_t num_taken_ = 0;
  WalkerChunk* free_ = nullptr;
};

// The walkers that one thread has put on the units of a space.
//
//   Walkers 4 and 9 on unit 1 of 2: next 0 and the address behind 9, num_in_earlier 0 0.
class Bucket {
 public:
  // Nothing has been put on any unit.
  explicit Bucket(std::size_t num_units) : next_(num_units), num_in_earlier_(num_units) {}

  void put(std::size_t unit, std::uint32_t walker, ChunkPool& pool) {
    std::uint32_t* next = next_[unit];
    if (is_full(next)) next = begin_chunk(unit, pool);
    *next = walker;
    next_[unit] = next + 1;
  }

  std::size_t num_walkers(std::size_t unit) const {
    std::uint32_t* next = next_[unit];
    if (next == nullptr) return 0;
    return num_in_earlier_[unit] + static_cast<std::size_t>(next - last_chunk(next)->walkers);
  }

  // Empties a unit: calls visit(walkers, num_walkers) for each chunk and gives it back.
  template <typename Visit>
  void take_all(std::size_t unit, ChunkPool& pool, const Visit& visit) {
    std::uint32_t* next = next_[unit];
    if (next == nullptr) return;
    WalkerChunk* chunk = last_chunk(next);
    chunk->num_walkers = static_cast<std::uint32_t>(next - chunk->walkers);
    forget(unit);
    while (chunk != nullptr) {
      WalkerChunk* previous = chunk->previous;
      prefetch(previous);
      visit(chunk->walkers, chunk->num_walkers);
      pool.give_back(chunk);
      chunk = previous;
    }
  }

  // Leaves a unit's walkers out of the batch.
  void forget(std::size_t unit) {
    next_[unit] = nullptr;
    num_in_earlier_[unit] = 0;
  }

  // Moves a unit's walkers to a unit of another bucket, behind those that are there.
  void move_all(std::size_t unit, Bucket& to, std::size_t to_unit) {
    std::uint32_t* next = next_[unit];
    if (next == nullptr) return;
    if (std::uint32_t* others = to.next_[to_unit]) {
      WalkerChunk* last = last_chunk(others);
      last->num_walkers = static_cast<std::uint32_t>(others - last->walkers);
      to.num_in_earlier_[to_unit] += last->num_walkers;
      WalkerChunk* first = last_chunk(next);
      while (first->previous != nullptr) first = first->previous;
      first->previous = last;
    }
    to.next_[to_unit] = next;
    to.num_in_earlier_[to_unit] += num_in_earlier_[unit];
    forget(unit);
  }

 private:
  // Returns true also where there is no chunk yet.
  static bool is_full(const std::uint32_t* next) {
    return reinterpret_cast<std::uintptr_t>(next) % sizeof(WalkerChunk) == 0;
  }

  // Returns the chunk that the walker before `next` is in.
  static WalkerChunk* last_chunk(std::uint32_t* next) {
    char* last = reinterpret_cast<char*>(next - 1);
    return reinterpret_cast<WalkerChunk*>(last - reinterpret_cast<std::uintptr_t>(last) %
                                                     sizeof(WalkerChunk));
  }

  static void prefetch(const WalkerChunk* chunk) {
    for (std::size_t line = 0; line < sizeof(WalkerChunk); line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(chunk) + line);
    }
  }

  std::uint32_t* begin_chunk(std::size_t unit, ChunkPool& pool);

  // Per unit, where its next walker is written, null where it has none yet.
  std::vector<std::uint32_t*> next_;
  // Per unit, the number of walkers in all of its chunks but the last.
  std::vector<std::uint32_t> num_in_earlier_;
};

// The walkers on the units of a space. There is a bucket for each thread that puts walkers there,
// over whichever link they come.
using Buckets = std::vector<Bucket>;

// Returns the number of walkers on adjacent units.
std::size_t count_walkers(const Buckets& buckets, std::size_t first_unit, std::size_t num_units);

}  // namespace phew
