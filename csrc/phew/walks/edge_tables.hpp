// The tables that walks draw from: cumulative masses of the edges of adjacent units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/graph/graph_view.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// At most so many adjacent units make a block. Units that are columns of the weights share the
// cache lines of a row, and the work of finding where the row lies in memory.
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

// Builds the tables of one block of units, and holds one of them at a time.
class EdgeTables {
 public:
  // `equal` gives all edges the same mass.
  EdgeTables(const WeightRows& rows, const EdgeView& edges, const MassConverter& convert,
             const MassConverter& equal);

  bool near_is_row() const { return near_is_row_; }

  // Goes to the units [first, first + num_units) of a group, at most kMostUnitsPerBlock.
  void go_to(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
             Resolution resolution);

  // Returns the table of the unit at this position of the block. It is valid until another unit's
  // is asked for. If all edges of a unit are zero, its edges to live units have mass 1.
  EdgeTable table(std::uint32_t position, std::size_t num_walkers);

  // Whether all edges of this unit are zero.
  bool is_zero(std::uint32_t position) {
    fill(position);
    return is_zero_;
  }

  // Returns the mass of this unit's edges to live units.
  std::uint64_t mass(std::uint32_t position) {
    return is_zero(position) ? 0 : cumulative_[num_entries_ - 1];
  }

 private:
  // Fills the table with the edges of this unit, unless it has them.
  void fill(std::uint32_t position);
  void fill(std::uint32_t position, const MassConverter& convert);
  void build_guide();

  WeightRows rows_;
  EdgeView edges_;
  MassConverter convert_;
  MassConverter equal_;
  bool near_is_row_;
  std::uint32_t group_ = 0;
  std::uint32_t first_ = 0;
  Resolution resolution_{};
  // The flags of the group's far units, null if all far units are live.
  const std::uint8_t* far_live_ = nullptr;
  // The weights of the block's units if these are columns, one unit behind the other, each
  // column_size_ weights.
  std::vector<std::uint64_t> columns_;
  std::size_t column_size_ = 0;
  // The position of the unit whose table this is, or kNone.
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::uint32_t filled_ = kNone;
  bool is_zero_ = false;
  std::uint32_t num_entries_ = 0;
  std::vector<std::uint64_t> cumulative_;
  std::vector<std::uint32_t> masses_;
  std::vector<std::uint16_t> guide_;
  std::uint32_t guide_shift_ = 0;
};

}  // namespace phew
