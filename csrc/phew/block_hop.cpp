#include "phew/block_hop.hpp"

#include <algorithm>

#include "phew/hop.hpp"

namespace phew {
namespace {

std::size_t count_walkers(const Buckets& walkers, const Block& block, std::size_t unit) {
  std::size_t num_walkers = 0;
  for (std::size_t i = 0; i < block.num_buckets; ++i) {
    num_walkers += walkers[block.first_bucket + i].num_walkers(unit);
  }
  return num_walkers;
}

// Copies the weights of several far units, one kernel behind the other.
template <typename Element>
void copy_kernels(const EdgeView& edges, const void* weights, std::int64_t element,
                  std::uint32_t num_far, void* copies) {
  const auto* from = static_cast<const Element*>(weights) + element;
  auto* to = static_cast<Element*>(copies);
  for (std::uint32_t far = 0; far < num_far; ++far) {
    for (std::uint32_t k = 0; k < edges.num_positions; ++k) *to++ = from[k * edges.position_stride];
    from += edges.far_stride;
  }
}

void copy_kernels(const EdgeView& edges, const LinkBuffers& buffers, std::int64_t element,
                  std::uint32_t num_far, void* copies) {
  switch (size_of(buffers.dtype)) {
    case 2:
      return copy_kernels<std::uint16_t>(edges, buffers.weights, element, num_far, copies);
    case 4:
      return copy_kernels<std::uint32_t>(edges, buffers.weights, element, num_far, copies);
    default:
      return copy_kernels<std::uint64_t>(edges, buffers.weights, element, num_far, copies);
  }
}

// The position whose cumulative mass is the first above a draw.
std::uint32_t find_position(const std::uint32_t* masses, std::uint32_t size, std::uint64_t draw) {
  std::uint32_t position = 0;
  std::uint64_t cumulative = 0;
  for (std::uint32_t i = 0; i + 1 < size; ++i) {
    cumulative += masses[i];
    position += static_cast<std::uint32_t>(cumulative <= draw);
  }
  return position;
}

}  // namespace

void BlockHop::run(const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool) {
  const std::uint32_t near_per_group = hop_.edges.near_per_group;
  const std::size_t first = std::size_t{block.group} * near_per_group + block.first_unit;
  std::array<std::size_t, kUnitsPerBlock> num_walkers{};
  for (std::uint32_t i = 0; i < block.num_units; ++i) {
    num_walkers[i] = count_walkers(walkers, block, first + i);
  }
  const std::size_t most = *std::max_element(num_walkers.begin(), num_walkers.end());
  const bool near_is_row = tables_.near_is_row();
  const Resolution resolution = choose_resolution(hop_.edges, near_is_row, most);
  if (!near_is_row) tables_.build(block.group, block.first_unit, block.num_units, resolution);
  for (std::uint32_t i = 0; i < block.num_units; ++i) {
    if (num_walkers[i] == 0) continue;
    if (near_is_row) tables_.build(block.group, block.first_unit + i, 1, resolution);
    const std::uint32_t position = near_is_row ? 0 : i;
    hop_unit(static_cast<std::uint32_t>(first + i), tables_.table(position, num_walkers[i]),
             tables_.is_zero(position), resolution, block, walkers, arrived, pool);
  }
}

void BlockHop::hop_unit(std::uint32_t unit, const EdgeTable& table, bool is_zero,
                        Resolution resolution, const Block& block, Buckets& walkers,
                        Bucket& arrived, ChunkPool& pool) {
  for (std::size_t i = 0; i < block.num_buckets; ++i) {
    walkers[block.first_bucket + i].take_all(
        unit, pool, [&](const std::uint32_t* chunk, std::uint32_t num_walkers) {
          if (num_walkers_ + num_walkers > kWalkersPerStep) {
            step(unit, table, is_zero, resolution, arrived, pool);
          }
          std::copy_n(chunk, num_walkers, &walkers_[num_walkers_]);
          num_walkers_ += num_walkers;
        });
  }
  step(unit, table, is_zero, resolution, arrived, pool);
}

void BlockHop::step(std::uint32_t unit, const EdgeTable& table, bool is_zero,
                    Resolution resolution, Bucket& arrived, ChunkPool& pool) {
  kernels().random_bits(hop_.batch.draw_key(hop_.link, Purpose::kEdge), walkers_.data(),
                        num_walkers_, draws_.data());
  find_entries(table);
  if (resolution.num_edges() > 1) find_edges(unit, table, is_zero, resolution);
  split_edges(unit);
  if (hop_.buffers.visits != nullptr) record();
  const std::uint32_t first_far = hop_.edges.first_far(unit);
  for (std::size_t i = 0; i < num_walkers_; ++i) {
    arrived.put(first_far + far_units_[i], walkers_[i], pool);
  }
  num_walkers_ = 0;
}

void BlockHop::find_entries(const EdgeTable& table) {
  const std::uint64_t total = table.total();
  for (std::size_t i = 0; i < num_walkers_; ++i) draws_[i] = multiply_high(draws_[i], total);
  if (table.guide != nullptr) {
    for (std::size_t i = 0; i < num_walkers_; ++i) edges_[i] = table.find(draws_[i]);
    return;
  }
  for (std::size_t i = 0; i < num_walkers_; ++i) {
    edges_[i] = first_above(table.cumulative, table.num_entries, draws_[i]);
  }
}

void BlockHop::find_edges(std::uint32_t unit, const EdgeTable& table, bool is_zero,
                          Resolution resolution) {
  const EdgeView& edges = hop_.edges;
  const std::uint32_t num_positions = edges.num_positions;
  const bool any_position =
      hop_.granularity == Granularity::kKernel || hop_.buffers.visits == nullptr;
  if (resolution.num_far == 1 && any_position) {
    for (std::size_t i = 0; i < num_walkers_; ++i) edges_[i] *= num_positions;
    return;
  }
  const std::uint32_t num_edges = resolution.num_edges();
  const std::size_t walkers_per_part = std::max<std::size_t>(1, kMassesPerStep / num_edges);
  masses_.resize(std::max(masses_.size(), walkers_per_part * num_edges));
  weights_.resize(masses_.size());
  const std::int64_t first_element = edges.first_element(unit);
  const std::uint8_t* far_live = edges.all_far_live ? nullptr : edges.far_live + edges.first_far(unit);
  const std::size_t weight_size = size_of(hop_.buffers.dtype);
  for (std::size_t begin = 0; begin < num_walkers_; begin += walkers_per_part) {
    const std::size_t end = std::min(begin + walkers_per_part, num_walkers_);
    auto* copies = reinterpret_cast<char*>(weights_.data());
    for (std::size_t i = begin; i < end; ++i, copies += num_edges * weight_size) {
      const std::uint32_t far = edges_[i] * resolution.num_far;
      const std::uint32_t num_far = std::min(resolution.num_far, edges.far_per_group - far);
      copy_kernels(edges, hop_.buffers, first_element + far * edges.far_stride, num_far, copies);
    }
    hop_.convert(weights_.data(), (end - begin) * num_edges, masses_.data());
    std::uint32_t* masses = masses_.data();
    for (std::size_t i = begin; i < end; ++i, masses += num_edges) {
      const std::uint32_t entry = edges_[i];
      const std::uint32_t far = entry * resolution.num_far;
      const std::uint32_t num_far = std::min(resolution.num_far, edges.far_per_group - far);
      if (is_zero) std::fill_n(masses, num_edges, 1);
      if (far_live != nullptr) silence_dead(far_live + far, num_far, num_positions, masses);
      const std::uint64_t before = entry == 0 ? 0 : table.cumulative[entry - 1];
      edges_[i] = far * num_positions +
                  find_position(masses, num_far * num_positions, draws_[i] - before);
    }
  }
}

void BlockHop::split_edges(std::uint32_t unit) {
  const EdgeView& edges = hop_.edges;
  const std::int64_t first_element = edges.first_element(unit);
  if (edges.num_positions == 1) {
    for (std::size_t i = 0; i < num_walkers_; ++i) {
      far_units_[i] = edges_[i];
      elements_[i] = first_element + edges_[i] * edges.far_stride;
    }
    return;
  }
  // A multiplication by 2^64 / num_positions, rounded up, divides 32-bit numbers exactly.
  const std::uint64_t reciprocal = ~std::uint64_t{0} / edges.num_positions + 1;
  for (std::size_t i = 0; i < num_walkers_; ++i) {
    const auto far = static_cast<std::uint32_t>(multiply_high(edges_[i], reciprocal));
    const std::uint32_t position = edges_[i] - far * edges.num_positions;
    far_units_[i] = far;
    elements_[i] = first_element + far * edges.far_stride + position * edges.position_stride;
  }
}

void BlockHop::record() const {
  void* visits = hop_.buffers.visits;
  switch (hop_.recording) {
    case Recording::kMark:
      return record_with(MarkVisits{static_cast<std::uint8_t*>(visits)});
    case Recording::kNew:
      return record_with(
          ListNewVisits{static_cast<const std::uint8_t*>(visits), hop_.link, &new_visits_});
    case Recording::kCount:
      return record_with(CountVisits{static_cast<std::uint32_t*>(visits)});
  }
}

template <typename Recorder>
void BlockHop::record_with(const Recorder& recorder) const {
  const EdgeView& edges = hop_.edges;
  if (hop_.granularity == Granularity::kWeight) {
    for (std::size_t i = 0; i < num_walkers_; ++i) {
      recorder(hop_.batch.walk(walkers_[i]), elements_[i]);
    }
    return;
  }
  for (std::size_t i = 0; i < num_walkers_; ++i) {
    const std::uint32_t position = edges_[i] - far_units_[i] * edges.num_positions;
    const std::int64_t kernel = elements_[i] - position * edges.position_stride;
    for (std::uint32_t k = 0; k < edges.num_positions; ++k) {
      recorder(hop_.batch.walk(walkers_[i]), kernel + k * edges.position_stride);
    }
  }
}

}  // namespace phew
