#include "phew/walks/block_hop.hpp"

#include <algorithm>

#include "phew/arithmetic/draw.hpp"

namespace phew {
namespace {

std::size_t count_walkers(const Buckets& walkers, const Block& block, std::size_t unit) {
  std::size_t num_walkers = 0;
  for (std::size_t i = 0; i < block.num_buckets; ++i) {
    num_walkers += walkers[block.first_bucket + i].num_walkers(unit);
  }
  return num_walkers;
}

// Copies the kernels of several far units, one behind the other.
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

}  // namespace

void BlockHop::run(const Block& block, Buckets& walkers, Bucket& arrived, ChunkPool& pool) {
  is_shared_ = block.num_buckets < walkers.size();
  const std::uint32_t near_per_group = hop_.edges.near_per_group;
  const std::size_t first = std::size_t{block.group} * near_per_group + block.first_unit;
  std::array<std::size_t, kMostUnitsPerBlock> num_walkers{};
  for (std::uint32_t i = 0; i < block.num_units; ++i) {
    num_walkers[i] = count_walkers(walkers, block, first + i);
  }
  const std::size_t most = *std::max_element(num_walkers.begin(), num_walkers.end());
  const bool near_is_row = tables_.near_is_row();
  const Resolution resolution = choose_resolution(hop_.edges, near_is_row, most);
  if (!near_is_row) tables_.go_to(block.group, block.first_unit, block.num_units, resolution);
  for (std::uint32_t i = 0; i < block.num_units; ++i) {
    if (num_walkers[i] == 0) continue;
    if (near_is_row) tables_.go_to(block.group, block.first_unit + i, 1, resolution);
    const Unit unit = make_unit(static_cast<std::uint32_t>(first + i), near_is_row ? 0 : i,
                                num_walkers[i], resolution);
    for (std::size_t bucket = 0; bucket < block.num_buckets; ++bucket) {
      walkers[block.first_bucket + bucket].take_all(
          first + i, pool, [&](const std::uint32_t* chunk, std::uint32_t num) {
            hop(unit, chunk, num, arrived, pool);
          });
    }
  }
}

BlockHop::Unit BlockHop::make_unit(std::uint32_t index, std::uint32_t position,
                                   std::size_t num_walkers, Resolution resolution) {
  const EdgeView& edges = hop_.edges;
  if (tables_.mass(position) != hop_.near_totals[index]) throw WeightsChanged(hop_.link);
  return {
      index,
      tables_.table(position, num_walkers),
      resolution,
      tables_.is_zero(position),
      {edges.num_positions, edges.first_element(index), edges.far_stride, edges.position_stride}};
}

void BlockHop::hop(const Unit& unit, const std::uint32_t* walkers, std::uint32_t num_walkers,
                   Bucket& arrived, ChunkPool& pool) {
  loops().draw(hop_.batch.draw_key(hop_.link, Purpose::kEdge), walkers, num_walkers,
               unit.table.total(), draws_.data());
  find_entries(unit.table, num_walkers);
  if (unit.resolution.num_edges() > 1) find_edges(unit, num_walkers);
  loops().locate(unit.layout, edges_.data(), num_walkers, far_units_.data(), elements_.data());
  if (hop_.buffers.visits != nullptr) record_visits(walkers, num_walkers);
  const std::uint32_t first_far = hop_.edges.first_far(unit.index);
  for (std::uint32_t i = 0; i < num_walkers; ++i) {
    arrived.put(first_far + far_units_[i], walkers[i], pool);
  }
}

void BlockHop::find_entries(const EdgeTable& table, std::uint32_t num_walkers) {
  if (table.guide != nullptr) {
    for (std::uint32_t i = 0; i < num_walkers; ++i) edges_[i] = table.find(draws_[i]);
  } else {
    for (std::uint32_t i = 0; i < num_walkers; ++i) {
      edges_[i] = first_above(table.cumulative, table.num_entries, draws_[i]);
    }
  }
}

void BlockHop::find_edges(const Unit& unit, std::uint32_t num_walkers) {
  const EdgeView& edges = hop_.edges;
  const Resolution resolution = unit.resolution;
  const std::uint32_t num_positions = edges.num_positions;
  const bool any_position =
      hop_.granularity == Granularity::kKernel || hop_.buffers.visits == nullptr;
  if (resolution.num_far == 1 && any_position) {
    for (std::uint32_t i = 0; i < num_walkers; ++i) edges_[i] *= num_positions;
    return;
  }
  const std::uint32_t num_edges = resolution.num_edges();
  masses_.resize(std::max(masses_.size(), WalkerChunk::kCapacity * num_edges));
  weights_.resize(masses_.size());
  const auto num_far_of = [&](std::uint32_t entry) {
    return std::min(resolution.num_far, edges.far_per_group - entry * resolution.num_far);
  };
  auto* copies = reinterpret_cast<char*>(weights_.data());
  for (std::uint32_t i = 0; i < num_walkers; ++i) {
    const std::int64_t element =
        unit.layout.first_element + std::int64_t{edges_[i]} * resolution.num_far * edges.far_stride;
    copy_kernels(edges, hop_.buffers, element, num_far_of(edges_[i]), copies);
    copies += num_edges * size_of(hop_.buffers.dtype);
  }
  const MassConverter& convert = unit.is_zero ? hop_.equal : hop_.convert;
  convert(weights_.data(), std::size_t{num_walkers} * num_edges, masses_.data());
  std::uint32_t* masses = masses_.data();
  for (std::uint32_t i = 0; i < num_walkers; ++i, masses += num_edges) {
    const std::uint32_t entry = edges_[i];
    const std::uint32_t far = entry * resolution.num_far;
    if (!edges.all_far_live) {
      const std::uint8_t* live = edges.far_live + edges.first_far(unit.index) + far;
      clear_dead_kernels(live, num_far_of(entry), num_positions, masses);
    }
    const std::uint64_t before = entry == 0 ? 0 : unit.table.cumulative[entry - 1];
    edges_[i] = far * num_positions +
                first_above_sum(masses, num_far_of(entry) * num_positions, draws_[i] - before);
  }
}

void BlockHop::record_visits(const std::uint32_t* walkers, std::uint32_t num_walkers) const {
  void* visits = hop_.buffers.visits;
  if (hop_.recording == Recording::kCount) {
    record_visits_by(CountVisits{static_cast<std::uint32_t*>(visits)}, walkers, num_walkers);
  } else {
    record_visits_by(MarkVisits<Visits>{static_cast<std::uint8_t*>(visits), hop_.first_listed,
                                        hop_.buffers.first_number, &listed_, is_shared_},
                     walkers, num_walkers);
  }
}

template <typename Policy>
void BlockHop::record_visits_by(const Policy& policy, const std::uint32_t* walkers,
                                std::uint32_t num_walkers) const {
  const EdgeView& edges = hop_.edges;
  if (hop_.granularity == Granularity::kWeight) {
    for (std::uint32_t i = 0; i < num_walkers; ++i) {
      policy(hop_.batch.walk(walkers[i]), elements_[i]);
    }
    return;
  }
  for (std::uint32_t i = 0; i < num_walkers; ++i) {
    const std::uint32_t position = edges_[i] - far_units_[i] * edges.num_positions;
    const std::int64_t kernel = elements_[i] - position * edges.position_stride;
    for (std::uint32_t k = 0; k < edges.num_positions; ++k) {
      const std::int64_t element = kernel + k * edges.position_stride;
      if (hop_.buffers.is_edge(element)) policy(hop_.batch.walk(walkers[i]), element);
    }
  }
}

}  // namespace phew
