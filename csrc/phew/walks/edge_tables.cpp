#include "phew/walks/edge_tables.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace phew {
namespace {

// So many masses are computed at a time, and stay in the L1 cache.
constexpr std::uint32_t kMassesPerStep = 2048;

// Guides refer to entries by 16 bits.
constexpr std::size_t kMostEntries = std::numeric_limits<std::uint16_t>::max();

std::uint32_t num_bits(std::uint64_t value) {
  return value == 0 ? 0 : 64 - static_cast<std::uint32_t>(__builtin_clzll(value));
}

// Appends one entry per edge to a table and returns its new total.
std::uint64_t append_edges(const std::uint32_t* masses, std::uint32_t num_edges,
                           std::uint64_t total, std::uint64_t* cumulative) {
  for (std::uint32_t i = 0; i < num_edges; ++i) cumulative[i] = total += masses[i];
  return total;
}

std::uint64_t sum(const std::uint32_t* masses, std::uint32_t size) {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < size; ++i) sum += masses[i];
  return sum;
}

}  // namespace

std::uint32_t num_units_per_block(const EdgeView& edges, bool near_is_row, unsigned num_threads) {
  constexpr std::size_t kBlocksPerThread = 8;
  // So many columns fill a cache line.
  constexpr std::size_t kAdjacentUnits = 16;
  const std::size_t wanted = edges.num_near() / (kBlocksPerThread * num_threads);
  const std::size_t fewest = near_is_row ? 1 : kAdjacentUnits;
  const std::size_t most =
      std::max(kMostUnitsPerBlock / std::max<std::size_t>(edges.num_positions, 1), fewest);
  // The tables of units of very many edges would fill the memory.
  constexpr std::size_t kMostEdges = std::size_t{1} << 22;
  const std::size_t fitting = std::max<std::size_t>(kMostEdges / (edges.num_edges() + 1), 1);
  return static_cast<std::uint32_t>(std::min(std::clamp(wanted, fewest, most), fitting));
}

Resolution choose_resolution(const EdgeView& edges, bool near_is_row, std::size_t num_walkers) {
  const std::size_t num_edges = edges.num_edges();
  if (num_walkers * 8 >= num_edges && num_edges <= kMostEntries) return {1, 1};
  // Each walker would look through a whole kernel. Searching among all edges takes fewer steps,
  // even without a guide.
  constexpr std::uint32_t kLongKernel = 256;
  if (edges.num_positions >= kLongKernel) return {1, 1};
  // Looking through the edges of an entry must not take longer than building it. Where units are
  // columns, each far unit costs a cache line.
  const std::size_t most_edges = near_is_row ? 64 : std::size_t{8} * edges.num_positions;
  const std::size_t wanted = std::min(most_edges, num_edges / (num_walkers * 4 + 1));
  const std::size_t at_least = (edges.far_per_group + kMostEntries - 1) / kMostEntries;
  const std::size_t num_far = std::max(at_least, wanted / edges.num_positions);
  return {static_cast<std::uint32_t>(std::max<std::size_t>(num_far, 1)), edges.num_positions};
}

EdgeTables::EdgeTables(const WeightRows& rows, const EdgeView& edges, const MassConverter& convert,
                       const MassConverter& equal)
    : rows_(rows),
      edges_(edges),
      convert_(convert),
      equal_(equal),
      near_is_row_(rows.rows_are_targets() == edges.near_is_target) {}

void EdgeTables::build(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
                       Resolution resolution) {
  resolution_ = resolution;
  num_entries_ = resolution.num_positions == edges_.num_positions
                     ? (edges_.far_per_group + resolution.num_far - 1) / resolution.num_far
                     : edges_.far_per_group * edges_.num_positions;
  far_live_ =
      edges_.all_far_live ? nullptr : edges_.far_live + std::size_t{group} * edges_.far_per_group;
  // It is no large power of two: otherwise the tables of a block would compete for cache lines.
  row_size_ = num_entries_ | 8U;
  cumulative_.resize(std::max(cumulative_.size(), row_size_ * num_units));
  if (near_is_row_) {
    for (std::uint32_t i = 0; i < num_units; ++i) {
      build_row(group, first + i, convert_, cumulative(i));
    }
  } else {
    build_columns(group, first, num_units, convert_, cumulative(0));
  }
  for (std::uint32_t i = 0; i < num_units; ++i) {
    is_zero_[i] = cumulative(i)[num_entries_ - 1] == 0;
    if (!is_zero_[i]) continue;
    if (near_is_row_) {
      build_row(group, first + i, equal_, cumulative(i));
    } else {
      build_columns(group, first + i, 1, equal_, cumulative(i));
    }
  }
}

// Appends the entries of adjacent far units to a table and returns its new total.
std::uint64_t EdgeTables::append(const std::uint32_t* masses, std::uint32_t num_far,
                                 std::uint64_t total, std::uint64_t*& cumulative) const {
  const std::uint32_t num_edges = num_far * edges_.num_positions;
  const std::uint32_t per_entry = resolution_.num_edges();
  if (per_entry == 1) {
    total = append_edges(masses, num_edges, total, cumulative);
    cumulative += num_edges;
    return total;
  }
  for (std::uint32_t edge = 0; edge < num_edges; edge += per_entry) {
    total += sum(masses + edge, std::min(per_entry, num_edges - edge));
    *cumulative++ = total;
  }
  return total;
}

void EdgeTables::build_row(std::uint32_t group, std::uint32_t row, const MassConverter& convert,
                           std::uint64_t* cumulative) {
  const std::uint32_t num_far = edges_.far_per_group;
  const std::uint32_t entries_per_step =
      std::max(1U, kMassesPerStep / (resolution_.num_far * edges_.num_positions));
  const std::uint32_t step = entries_per_step * resolution_.num_far;
  masses_.resize(std::max<std::size_t>(masses_.size(), std::size_t{step} * edges_.num_positions));
  std::uint64_t total = 0;
  for (std::uint32_t far = 0; far < num_far; far += step) {
    const std::uint32_t end = std::min(far + step, num_far);
    std::uint32_t* masses = masses_.data();
    rows_.visit(group, row, far, end, [&](const void* weights, std::size_t n) {
      convert(weights, n, masses);
      masses += n;
    });
    if (far_live_ != nullptr) {
      clear_dead_kernels(far_live_ + far, end - far, edges_.num_positions, masses_.data());
    }
    total = append(masses_.data(), end - far, total, cumulative);
  }
}

void EdgeTables::build_columns(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
                               const MassConverter& convert, std::uint64_t* cumulative) {
  // Rows are far apart in memory, and processors do not prefetch the next one by themselves.
  constexpr std::uint32_t kRowsAhead = 8;
  const std::uint32_t num_positions = edges_.num_positions;
  masses_.resize(std::max<std::size_t>(masses_.size(), std::size_t{num_units} * num_positions));
  std::array<std::uint64_t, kMostUnitsPerBlock> totals{};
  std::uint64_t* next = cumulative;
  for (std::uint32_t far = 0; far < edges_.far_per_group; ++far) {
    rows_.prefetch(group, far + kRowsAhead, first, first + num_units);
    if (far_live_ != nullptr && !far_live_[far]) {
      std::fill(masses_.begin(), masses_.end(), 0);
    } else {
      std::uint32_t* masses = masses_.data();
      rows_.visit(group, far, first, first + num_units, [&](const void* weights, std::size_t n) {
        convert(weights, n, masses);
        masses += n;
      });
    }
    if (resolution_.num_edges() == 1) {
      for (std::uint32_t i = 0; i < num_units; ++i) {
        totals[i] = append_edges(&masses_[std::size_t{i} * num_positions], num_positions, totals[i],
                                 next + i * row_size_);
      }
      next += num_positions;
      continue;
    }
    loops().add_totals(masses_.data(), num_positions, num_units, totals.data());
    if ((far + 1) % resolution_.num_far == 0 || far + 1 == edges_.far_per_group) {
      for (std::uint32_t i = 0; i < num_units; ++i) next[i * row_size_] = totals[i];
      ++next;
    }
  }
}

EdgeTable EdgeTables::table(std::uint32_t position, std::size_t num_walkers) {
  const std::uint64_t* entries = cumulative(position);
  const bool has_guide = num_walkers * 16 >= num_entries_ && num_entries_ <= kMostEntries;
  if (has_guide) build_guide(entries);
  return {entries, num_entries_, has_guide ? guide_.data() : nullptr, guide_shift_};
}

void EdgeTables::build_guide(const std::uint64_t* cumulative) {
  const std::uint32_t guide_bits = num_bits(num_entries_);
  const std::uint64_t last_draw = cumulative[num_entries_ - 1] - 1;
  guide_shift_ = std::max(num_bits(last_draw), guide_bits) - guide_bits;
  const std::size_t size = (last_draw >> guide_shift_) + 1;
  guide_.assign(size + 2, 0);
  // guide_[b] is the number of entries below the draws of b. It is set where it grows, and ...
  for (std::uint32_t entry = 0; entry + 1 < num_entries_; ++entry) {
    guide_[(cumulative[entry] >> guide_shift_) + 1] = static_cast<std::uint16_t>(entry + 1);
  }
  // ... is then filled in between.
  std::uint16_t num_below = 0;
  for (std::uint16_t& begin : guide_) begin = num_below = std::max(num_below, begin);
}

}  // namespace phew
