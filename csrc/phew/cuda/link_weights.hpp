// The weights of a link as kernels read them.
#pragma once

#include <cstdint>

#include "phew/graph_view.hpp"
#include "phew/macros.hpp"
#include "phew/mass.hpp"

namespace phew::cuda {

template <typename Format>
struct LinkWeights {
  const typename Format::Bits* weights;
  MassOfAnyPower<Format> convert;

  PHEW_HOST_DEVICE std::uint32_t mass(std::int64_t element) const {
    return convert(weights[element]);
  }
};

// One edge of a near unit after the other: by far unit of its group, then by kernel position.
struct EdgeCursor {
  std::uint32_t far;
  std::uint32_t position;
  std::int64_t element;

  PHEW_HOST_DEVICE EdgeCursor(const EdgeView& edges, std::uint32_t near, std::uint32_t edge)
      : far(edge / edges.num_positions),
        position(edge % edges.num_positions),
        element(edges.first_element(near) + far * edges.far_stride +
                position * edges.position_stride) {}

  PHEW_HOST_DEVICE void move_on(const EdgeView& edges) {
    element += edges.position_stride;
    if (++position < edges.num_positions) return;
    position = 0;
    ++far;
    element += edges.far_stride - edges.num_positions * edges.position_stride;
  }
};

}  // namespace phew::cuda
