#include "phew/weights/weight_rows.hpp"

#include <algorithm>
#include <cstring>

namespace phew {
namespace {

// Returns whether units with this stride are adjacent as columns.
bool are_adjacent(const WeightedLink& link, std::uint32_t num_units, std::int64_t stride) {
  return (stride == link.num_positions || num_units <= 1) &&
         (link.strides[3] == 1 || link.num_positions <= 1);
}

template <typename Element>
void copy_elements(const void* weights, std::int64_t first, std::int64_t column_stride,
                   std::int64_t position_stride, std::uint32_t num_positions, std::size_t i,
                   std::size_t n, void* copies) {
  const auto* from = static_cast<const Element*>(weights) + first;
  auto* to = static_cast<Element*>(copies);
  auto column = static_cast<std::int64_t>(i / num_positions);
  auto position = static_cast<std::uint32_t>(i % num_positions);
  for (std::size_t j = 0; j < n; ++j) {
    to[j] = from[column * column_stride + position * position_stride];
    if (++position == num_positions) {
      position = 0;
      ++column;
    }
  }
}

}  // namespace

WeightRows::WeightRows(const WeightedLink& link, const LinkBuffers& buffers)
    : buffers_(buffers),
      num_groups_(link.num_groups),
      num_positions_(link.num_positions),
      group_stride_(link.strides[0]),
      position_stride_(link.strides[3]),
      offset_(link.offset) {
  const std::int64_t target_stride = link.strides[1];
  const std::int64_t source_stride = link.strides[2];
  const bool sources_adjacent = are_adjacent(link, link.sources_per_group, source_stride);
  const bool targets_adjacent = are_adjacent(link, link.targets_per_group, target_stride);
  adjacent_ = sources_adjacent || targets_adjacent;
  rows_are_targets_ = adjacent_ ? sources_adjacent : target_stride >= source_stride;
  num_rows_ = rows_are_targets_ ? link.targets_per_group : link.sources_per_group;
  num_columns_ = rows_are_targets_ ? link.sources_per_group : link.targets_per_group;
  row_stride_ = rows_are_targets_ ? target_stride : source_stride;
  column_stride_ = rows_are_targets_ ? source_stride : target_stride;
}

void WeightRows::copy(std::int64_t first, std::size_t i, std::size_t n, void* copies) const {
  const auto copy_as = [&](auto element) {
    copy_elements<decltype(element)>(buffers_.weights, first, column_stride_, position_stride_,
                                     num_positions_, i, n, copies);
  };
  switch (size_of(buffers_.dtype)) {
    case 2:
      return copy_as(std::uint16_t{});
    case 4:
      return copy_as(std::uint32_t{});
    default:
      return copy_as(std::uint64_t{});
  }
}

}  // namespace phew
