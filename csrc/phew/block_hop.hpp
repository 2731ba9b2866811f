// The hops of the walkers on a block of adjacent units over a weighted link, by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/edge_tables.hpp"
#include "phew/link_hop.hpp"

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
  BlockHop(const WeightedHop& hop, Visits& new_visits)
      : hop_(hop), tables_(hop.rows, hop.edges, hop.convert), new_visits_(new_visits) {}

  void run(const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool);

 private:
  static constexpr std::size_t kWalkersPerStep = 256;
  // Of all walkers of a step together, when the edges of their entries are looked through.
  static constexpr std::size_t kMassesPerStep = 4096;

  void hop_unit(std::uint32_t unit, const EdgeTable& table, bool is_zero, Resolution resolution,
                const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool);
  void step(std::uint32_t unit, const EdgeTable& table, bool is_zero, Resolution resolution,
            Bucket& arrived, ChunkPool& pool);
  void find_entries(const EdgeTable& table);
  void find_edges(std::uint32_t unit, const EdgeTable& table, bool is_zero, Resolution resolution);
  void split_edges(std::uint32_t unit);
  void record() const;
  template <typename Recorder>
  void record_with(const Recorder& recorder) const;

  const WeightedHop& hop_;
  EdgeTables tables_;
  Visits& new_visits_;
  std::vector<std::uint64_t> weights_;
  std::vector<std::uint32_t> masses_;

  // The walkers of a step, their random bits, the entry of the table and then the edge that each
  // of them finds, what remains of its draw there, and where the edge leads to and is stored.
  std::size_t num_walkers_ = 0;
  std::array<std::uint32_t, kWalkersPerStep> walkers_;
  std::array<std::uint64_t, kWalkersPerStep> draws_;
  std::array<std::uint32_t, kWalkersPerStep> edges_;
  std::array<std::uint32_t, kWalkersPerStep> far_units_;
  std::array<std::int64_t, kWalkersPerStep> elements_;
};

}  // namespace phew
