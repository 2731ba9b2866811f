#include "phew/walks/edge_tables.hpp"

#include <algorithm>
#include <cstring>
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

// So many numbers of a guide are stored at a time. The numbers of the next entry replace those that
// are too many. To store as many as are needed would take a branch for each entry, which the
// processor would mispredict.
constexpr std::size_t kNumbersAtOnce = 16;

// Sets the numbers of a guide, and then less than kNumbersAtOnce others.
void fill_guide(const std::uint64_t* cumulative, std::uint32_t num_entries, std::uint32_t shift,
                std::uint16_t* guide) {
  using Numbers [[gnu::vector_size(16)]] = std::uint16_t;
  constexpr std::size_t kNum = sizeof(Numbers) / sizeof(std::uint16_t);
  std::uint16_t* next = guide;
  Numbers numbers{};
  for (std::uint32_t entry = 0; entry < num_entries; ++entry, numbers += 1) {
    // This entry has the draws below its mass that are not below that of the entry before.
    std::uint16_t* const end = guide + (cumulative[entry] >> shift) + 1;
    do {
      for (std::size_t i = 0; i < kNumbersAtOnce; i += kNum) {
        std::memcpy(next + i, &numbers, sizeof numbers);
      }
      next += kNumbersAtOnce;
    } while (next < end);
    next = end;
  }
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
  // The copies of columns of very many edges would fill the memory.
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

void EdgeTables::go_to(std::uint32_t group, std::uint32_t first, std::uint32_t num_units,
                       Resolution resolution) {
  group_ = group;
  first_ = first;
  resolution_ = resolution;
  filled_ = kNone;
  num_entries_ = resolution.num_positions == edges_.num_positions
                     ? (edges_.far_per_group + resolution.num_far - 1) / resolution.num_far
                     : edges_.far_per_group * edges_.num_positions;
  far_live_ =
      edges_.all_far_live ? nullptr : edges_.far_live + std::size_t{group} * edges_.far_per_group;
  cumulative_.resize(std::max<std::size_t>(cumulative_.size(), num_entries_));
  if (near_is_row_) return;
  // The distance of columns is no large power of two. Otherwise they would compete for the same
  // cache lines.
  constexpr std::size_t kPart = 32;
  column_size_ = ((edges_.num_edges() + kPart - 1) / kPart | 1) * kPart;
  const std::size_t num_bytes = column_size_ * num_units * rows_.weight_size();
  columns_.resize(std::max(columns_.size(), num_bytes / sizeof(std::uint64_t)));
  rows_.copy_columns(group, first, first + num_units, columns_.data(), column_size_);
}

void EdgeTables::fill(std::uint32_t position) {
  if (filled_ == position) return;
  filled_ = position;
  fill(position, convert_);
  is_zero_ = cumulative_[num_entries_ - 1] == 0;
  if (is_zero_) fill(position, equal_);
}

void EdgeTables::fill(std::uint32_t position, const MassConverter& convert) {
  const std::uint32_t num_far = edges_.far_per_group;
  const std::uint32_t num_positions = edges_.num_positions;
  const std::uint32_t entries_per_step =
      std::max(1U, kMassesPerStep / (resolution_.num_far * num_positions));
  const std::uint32_t step = entries_per_step * resolution_.num_far;
  masses_.resize(std::max<std::size_t>(masses_.size(), std::size_t{step} * num_positions));
  std::uint64_t total = 0;
  for (std::uint32_t far = 0; far < num_far; far += step) {
    const std::uint32_t end = std::min(far + step, num_far);
    std::uint32_t* masses = masses_.data();
    const auto add = [&](const void* weights, std::size_t n) {
      convert(weights, n, masses);
      masses += n;
    };
    if (near_is_row_) {
      rows_.visit(group_, first_ + position, far, end, add);
    } else {
      const std::size_t first = position * column_size_ + std::size_t{far} * num_positions;
      add(reinterpret_cast<const char*>(columns_.data()) + first * rows_.weight_size(),
          std::size_t{end - far} * num_positions);
    }
    if (far_live_ != nullptr) {
      clear_dead_kernels(far_live_ + far, end - far, num_positions, masses_.data());
    }
    const std::size_t first_entry = std::size_t{far} * num_positions / resolution_.num_edges();
    total = loops().cumulate(masses_.data(), std::size_t{end - far} * num_positions,
                             resolution_.num_edges(), total, &cumulative_[first_entry]);
  }
}

EdgeTable EdgeTables::table(std::uint32_t position, std::size_t num_walkers) {
  fill(position);
  const bool has_guide = num_walkers * 16 >= num_entries_ && num_entries_ <= kMostEntries;
  if (has_guide) build_guide();
  return {cumulative_.data(), num_entries_, has_guide ? guide_.data() : nullptr, guide_shift_};
}

void EdgeTables::build_guide() {
  const std::uint32_t guide_bits = num_bits(num_entries_);
  const std::uint64_t last_draw = cumulative_[num_entries_ - 1] - 1;
  guide_shift_ = std::max(num_bits(last_draw), guide_bits) - guide_bits;
  const std::size_t size = (last_draw >> guide_shift_) + 2;
  guide_.resize(std::max(guide_.size(), size + kNumbersAtOnce));
  fill_guide(cumulative_.data(), num_entries_, guide_shift_, guide_.data());
}

}  // namespace phew
