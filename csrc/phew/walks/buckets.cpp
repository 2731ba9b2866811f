#include "phew/walks/buckets.hpp"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace phew {
namespace {

// Walkers hop to chunks all over the memory. The processor finds these much faster in one huge page
// than in 512 usual ones.
void ask_for_huge_page([[maybe_unused]] ChunkBlock& block) {
#ifdef MADV_HUGEPAGE
  madvise(&block, sizeof block, MADV_HUGEPAGE);
#endif
}

}  // namespace

WalkerChunk* ChunkPool::take_new() {
  const std::size_t index = num_taken_ / ChunkBlock::kNumChunks;
  if (index == blocks_.size()) {
    // The chunks are not initialised, so usual pages that are never used take neither memory nor
    // time. Few walkers need one block, in usual pages.
    blocks_.emplace_back(new ChunkBlock);
    if (index > 0) ask_for_huge_page(*blocks_[index]);
  }
  return &blocks_[index]->chunks[num_taken_++ % ChunkBlock::kNumChunks];
}

std::uint32_t* Bucket::begin_chunk(std::size_t unit, ChunkPool& pool) {
  WalkerChunk* full = nullptr;
  if (std::uint32_t* next = next_[unit]) {
    full = last_chunk(next);
    full->num_walkers = WalkerChunk::kCapacity;
    num_in_earlier_[unit] += WalkerChunk::kCapacity;
  }
  WalkerChunk* chunk = pool.take();
  chunk->previous = full;
  return chunk->walkers;
}

std::size_t count_walkers(const Buckets& buckets, std::size_t first_unit, std::size_t num_units) {
  std::size_t num_walkers = 0;
  for (const Bucket& bucket : buckets) {
    for (std::size_t i = 0; i < num_units; ++i) num_walkers += bucket.num_walkers(first_unit + i);
  }
  return num_walkers;
}

}  // namespace phew
