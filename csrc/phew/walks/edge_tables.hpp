// The tables that walks draw from: cumulative masses of the edges of adjacent units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/graph/graph_view.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// The tables of at most so many adjacent units are built together. Units that are columns of the
// weights share the cache lines of a row, and the work of finding where the row lies in memory.
constexpr std::uint32_t kMostUnitsPerBlock = 64;

// Returns a size of blocks that gives each thread several of them, if that is possible without
// tearing apart units that share cache lines.
std::uint32_t num_units_per_block(const EdgeView& edges, bool near_is_row, unsigned num_threads);

// The edges that one entry of a table stands for: a single edge, or all edges to one or several far
// units. With fewer edges per entry, a table takes longer to build, and an edge is found faster.
struct Resolution {
  // The number of far units of an entry.
  std::uint32_t num_far;
  // The number of kernel positions of an entry: 1, of one far unit, or all.
  std::uint32_t num_positions;

  std::uint32_t num_edges() const { return num_far * num_positions; }
};

// Chooses a resolution for units with so many walkers.
Resolution choose_resolution(const EdgeView& edges, bool near_is_row, std::size_t num_walkers);

// The table of a unit. A guide, which is worth its cost for a unit of many walkers, tells where the
// search for a draw begins.
//
//   Edges of mass 3 0 1 4, one per entry: cumulative 3 3 4 8. With guide_shift 2, the draws 0 to 3
//   are searched from guide[0] = 0 on, the draws 4 to 7 from guide[1] = 2 on.
struct EdgeTable {
  const std::uint64_t* cumulative;
  std::uint32_t num_entries;
  // Null if there is none.
  const std::uint16_t* guide;
  std::uint32_t guide_shift;

  std::uint64_t total() const { return cumulative[num_entries - 1]; }

  // Returns the first entry whose cumulative mass is above a draw. There must be a guide.
  std::uint32_t find(std::uint64_t draw) const {
    std::uint32_t entry = guide[draw >> guide_shift];
    // Two steps are nearly always enough, and have no branch that could be mispredicted.
    entry += static_cast<std::uint32_t>(cumulative[entry] <= draw);
    entry += static_cast<std::uint32_t>(cumulative[entry] <= draw);
    while (cumulative[entry] <= draw) ++entry;
    return entry;
  }
};

// Builds and holds the tables of one block of units at a time.
class EdgeTables {
 public:
  // `equal` gives all edges the same mass.
  EdgeTables(const WeightRows& rows, const EdgeView& edges, const MassConverter& convert,
             const MassConverter& equal);

  bool near_is_row() const { return near_is_row_; }

  // Builds the tables of units [first, first + num_units) of a group, at most kMostUnitsPerBlock.
  // If all edges of a unit are zero, its edges to live units have mass 1.
  void build(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
             Resolution resolution);

  // Returns the table of the unit at this position of the block. It is valid until the next call.
  EdgeTable table(std::uint32_t position, std::size_t num_walkers);

  // Whether all edges of this unit are zero.
  bool is_zero(std::uint32_t position) const { return is_zero_[position]; }

  // Returns the mass of this unit's edges to live units.
  std::uint64_t mass(std::uint32_t position) {
    return is_zero_[position] ? 0 : cumulative(position)[num_entries_ - 1];
  }

 private:
  std::uint64_t* cumulative(std::uint32_t position) { return &cumulative_[position * row_size_]; }
  void build_row(std::uint32_t group, std::uint32_t row, const MassConverter& convert,
                 std::uint64_t* cumulative);
  void build_columns(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
                     const MassConverter& convert, std::uint64_t* cumulative);
  std::uint64_t append(const std::uint32_t* masses, std::uint32_t num_far, std::uint64_t total,
                       std::uint64_t*& cumulative) const;
  void build_guide(const std::uint64_t* cumulative);

  WeightRows rows_;
  EdgeView edges_;
  MassConverter convert_;
  MassConverter equal_;
  bool near_is_row_;
  Resolution resolution_{};
  // The flags of the group's far units, null if all far units are live.
  const std::uint8_t* far_live_ = nullptr;
  std::uint32_t num_entries_ = 0;
  std::size_t row_size_ = 0;
  std::vector<std::uint64_t> cumulative_;
  std::vector<std::uint32_t> masses_;
  std::vector<std::uint16_t> guide_;
  std::uint32_t guide_shift_ = 0;
  bool is_zero_[kMostUnitsPerBlock] = {};
};

}  // namespace phew
