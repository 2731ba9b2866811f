#include "phew/walks/buckets.hpp"

namespace phew {

WalkerChunk* ChunkPool::take_new() {
  const std::size_t block = num_taken_ / kChunksPerBlock;
  // The chunks are not initialised, so pages that are never used take no memory.
  if (block == blocks_.size()) blocks_.emplace_back(new WalkerChunk[kChunksPerBlock]);
  return &blocks_[block][num_taken_++ % kChunksPerBlock];
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
