// The weights of a link in the order of the memory: groups of rows of columns of kernel positions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "phew/graph/graph.hpp"
#include "phew/weights/link_buffers.hpp"

namespace phew {

// Rows are the targets or the sources, whichever lets columns be adjacent.
//
//   The convolution of graph.hpp: 2 groups of 3 rows (targets) of 2 columns (sources) of 9
//   positions. The rows of a transposed convolution are its sources.
class WeightRows {
 public:
  WeightRows(const WeightedLink& link, const LinkBuffers& buffers);

  std::uint32_t num_groups() const { return num_groups_; }
  std::uint32_t num_rows() const { return num_rows_; }
  std::uint32_t num_columns() const { return num_columns_; }
  std::uint32_t num_positions() const { return num_positions_; }
  bool rows_are_targets() const { return rows_are_targets_; }
  std::size_t weight_size() const { return size_of(buffers_.dtype); }

  // Calls visit(weights, n) for the weights of the columns [begin, end) of a row in their order, n
  // at a time. Adjacent weights are visited where they are, others are copied.
  template <typename Visit>
  void visit(std::uint32_t group, std::uint32_t row, std::uint32_t begin, std::uint32_t end,
             const Visit& visit) const {
    const std::size_t num_weights = std::size_t{end - begin} * num_positions_;
    const std::int64_t first = element(group, row, begin);
    if (adjacent_) {
      visit(buffers_.weight(first), num_weights);
      return;
    }
    std::uint64_t copies[kCopiesPerVisit];
    for (std::size_t i = 0; i < num_weights; i += kCopiesPerVisit) {
      const std::size_t n = std::min(kCopiesPerVisit, num_weights - i);
      copy(first, i, n, copies);
      visit(static_cast<const void*>(copies), n);
    }
  }

  // Copies the columns [begin, end) of a group. The copy of a column has the weights of all rows in
  // their order, and begins `stride` weights behind that of the column before.
  void copy_columns(std::uint32_t group, std::uint32_t begin, std::uint32_t end, void* copies,
                    std::size_t stride) const;

 private:
  std::int64_t element(std::uint32_t group, std::uint32_t row, std::uint32_t column) const {
    return offset_ + group * group_stride_ + row * row_stride_ + column * column_stride_;
  }

  static constexpr std::size_t kCopiesPerVisit = 256;

  // Loads the columns [begin, end) of a row into the cache, if they are adjacent.
  void prefetch(std::uint32_t group, std::uint32_t row, std::uint32_t begin,
                std::uint32_t end) const;

  // Copies the weights [i, i + n) of the columns that begin at element `first`.
  void copy(std::int64_t first, std::size_t i, std::size_t n, void* copies) const;

  LinkBuffers buffers_;
  std::uint32_t num_groups_;
  std::uint32_t num_rows_;
  std::uint32_t num_columns_;
  std::uint32_t num_positions_;
  std::int64_t group_stride_;
  std::int64_t row_stride_;
  std::int64_t column_stride_;
  std::int64_t position_stride_;
  std::int64_t offset_;
  bool rows_are_targets_;
  bool adjacent_;
};

}  // namespace phew
