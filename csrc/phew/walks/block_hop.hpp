// The hops of the walkers on a block of adjacent units over a weighted link, by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/walks/edge_tables.hpp"
#include "phew/walks/link_hop.hpp"

namespace phew {

// Adjacent units of a group, and the buckets whose walkers on them hop.
struct Block {
  std::uint32_t group;
  std::uint32_t first_unit;
  std::uint32_t num_units;
  std::size_t first_bucket;
  std::size_t num_buckets;
};

class BlockHop {
 public:
  BlockHop(const WeightedHop& hop, Visits& listed)
      : hop_(hop), tables_(hop.rows, hop.edges, hop.convert), listed_(listed) {}

  void run(const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool);

 private:
  // What the walkers on a unit draw from.
  struct Unit {
    std::uint32_t index;
    EdgeTable table;
    Resolution resolution;
    // Whether all of its edges are zero.
    bool is_zero;
    EdgeLayout layout;
  };

  Unit make_unit(std::uint32_t index, std::uint32_t position, std::size_t num_walkers,
                 Resolution resolution);
  void hop(const Unit& unit, const std::uint32_t* walkers, std::uint32_t num_walkers,
           Bucket& arrived, ChunkPool& pool);
  void find_entries(const EdgeTable& table, std::uint32_t num_walkers);
  void find_edges(const Unit& unit, std::uint32_t num_walkers);
  void record(const std::uint32_t* walkers, std::uint32_t num_walkers) const;
  template <typename Recorder>
  void record_with(const Recorder& recorder, const std::uint32_t* walkers,
                   std::uint32_t num_walkers) const;

  const WeightedHop& hop_;
  EdgeTables tables_;
  Visits& listed_;
  // Of all walkers of a chunk together, when the edges of their entries are looked through.
  std::vector<std::uint64_t> weights_;
  std::vector<std::uint32_t> masses_;

  // Of each walker of a chunk: its draw, the entry of the table and then the edge that it finds,
  // where that leads to and where its weight is.
  std::array<std::uint64_t, WalkerChunk::kCapacity> draws_;
  std::array<std::uint32_t, WalkerChunk::kCapacity> edges_;
  std::array<std::uint32_t, WalkerChunk::kCapacity> far_units_;
  std::array<std::int64_t, WalkerChunk::kCapacity> elements_;
};

}  // namespace phew
