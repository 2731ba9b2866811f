// The hops over a weighted link of the walkers on a block of adjacent units, made by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/walks/edge_tables.hpp"
#include "phew/walks/weighted_hop.hpp"

namespace phew {

// Adjacent units of a group, and the buckets whose walkers on these units hop.
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
      : hop_(hop), tables_(hop.rows, hop.edges, hop.convert, hop.equal), listed_(listed) {}

  void run(const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool);

 private:
  // A unit as its walkers draw from it.
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
  void record_visits(const std::uint32_t* walkers, std::uint32_t num_walkers) const;
  template <typename Policy>
  void record_visits_by(const Policy& policy, const std::uint32_t* walkers,
                        std::uint32_t num_walkers) const;

  const WeightedHop& hop_;
  EdgeTables tables_;
  Visits& listed_;
  // Whether other threads let walkers hop from the same unit at the same time.
  bool is_shared_ = false;
  // The edges of the entries that the walkers of a chunk have found, to be looked through.
  std::vector<std::uint64_t> weights_;
  std::vector<std::uint32_t> masses_;

  // Per walker of a chunk: its draw, the entry of the table that it finds and then the edge, the
  // far unit that the edge leads to, and the element that is its weight.
  std::array<std::uint64_t, WalkerChunk::kCapacity> draws_;
  std::array<std::uint32_t, WalkerChunk::kCapacity> edges_;
  std::array<std::uint32_t, WalkerChunk::kCapacity> far_units_;
  std::array<std::int64_t, WalkerChunk::kCapacity> elements_;
};

}  // namespace phew
