#include "phew/weights/weight_rows.hpp"

#include <algorithm>
#include <cstring>

#include "phew/loops/loops.hpp"

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

// Copies adjacent bytes. To call memcpy would take as long again, as kernels are short.
void copy_bytes(const char* from, std::size_t size, char* to) {
  constexpr std::size_t kAtOnce = 16;
  if (size < kAtOnce) {
    for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
    return;
  }
  // The last bytes that are copied at once may be in part those before.
  for (std::size_t i = 0; i + kAtOnce < size; i += kAtOnce) std::memcpy(to + i, from + i, kAtOnce);
  std::memcpy(to + size - kAtOnce, from + size - kAtOnce, kAtOnce);
}

// Copies a matrix of kernels as its transpose.
template <typename Element>
void transpose_kernels(const Element* from, std::int64_t row_stride, std::uint32_t num_rows,
                       std::int64_t column_stride, std::uint32_t num_columns,
                       std::int64_t position_stride, std::uint32_t num_positions, Element* to,
                       std::size_t to_stride) {
  for (std::uint32_t row = 0; row < num_rows; ++row) {
    for (std::uint32_t column = 0; column < num_columns; ++column) {
      const Element* kernel = from + row * row_stride + column * column_stride;
      Element* copy = to + column * to_stride + std::size_t{row} * num_positions;
      if (position_stride == 1) {
        copy_bytes(reinterpret_cast<const char*>(kernel), num_positions * sizeof(Element),
                   reinterpret_cast<char*>(copy));
        continue;
      }
      for (std::uint32_t k = 0; k < num_positions; ++k) copy[k] = kernel[k * position_stride];
    }
  }
}

// Calls function(element, index) with an unsigned integer of the size of a weight, and the index of
// the loops for this size.
template <typename Function>
void with_element(DType dtype, const Function& function) {
  switch (size_of(dtype)) {
    case 2:
      return function(std::uint16_t{}, 0);
    case 4:
      return function(std::uint32_t{}, 1);
    default:
      return function(std::uint64_t{}, 2);
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

void WeightRows::copy_columns(std::uint32_t group, std::uint32_t begin, std::uint32_t end,
                              void* copies, std::size_t stride) const {
  // Rows are far apart in memory, and processors do not prefetch the next ones by themselves.
  constexpr std::uint32_t kRowsAtOnce = 32;
  for (std::uint32_t row = 0; row < num_rows_; row += kRowsAtOnce) {
    for (std::uint32_t i = 0; i < kRowsAtOnce; ++i) {
      prefetch(group, row + kRowsAtOnce + i, begin, end);
    }
    const std::uint32_t num_rows = std::min(kRowsAtOnce, num_rows_ - row);
    with_element(buffers_.dtype, [&](auto element, int index) {
      using Element = decltype(element);
      const auto* from =
          static_cast<const Element*>(buffers_.weights) + this->element(group, row, begin);
      auto* to = static_cast<Element*>(copies) + std::size_t{row} * num_positions_;
      if (adjacent_ && num_positions_ == 1) {
        loops().transpose[index](from, static_cast<std::size_t>(row_stride_), num_rows, end - begin,
                                 to, stride);
      } else {
        transpose_kernels(from, row_stride_, num_rows, column_stride_, end - begin,
                          position_stride_, num_positions_, to, stride);
      }
    });
  }
}

void WeightRows::prefetch(std::uint32_t group, std::uint32_t row, std::uint32_t begin,
                          std::uint32_t end) const {
  if (!adjacent_ || row >= num_rows_) return;
  constexpr std::size_t kCacheLine = 64;
  const auto* weights = static_cast<const char*>(buffers_.weight(element(group, row, begin)));
  const std::size_t size = std::size_t{end - begin} * num_positions_ * size_of(buffers_.dtype);
  for (std::size_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(weights + i);
}

void WeightRows::copy(std::int64_t first, std::size_t i, std::size_t n, void* copies) const {
  with_element(buffers_.dtype, [&](auto element, int) {
    copy_elements<decltype(element)>(buffers_.weights, first, column_stride_, position_stride_,
                                     num_positions_, i, n, copies);
  });
}

}  // namespace phew
