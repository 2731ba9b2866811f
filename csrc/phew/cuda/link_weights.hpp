// The weights of a link as bodies read them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "phew/arithmetic/macros.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/graph/graph_view.hpp"
#include "phew/weights/link_buffers.hpp"

namespace phew::cuda {

// Computes the mass of a weight where absent edges are to have none.
template <typename FormatOfWeight>
struct MassOfPresent {
  using Format = FormatOfWeight;
  using Bits = typename Format::Bits;

  MassOfAnyPower<Format> mass_of;

  PHEW_HOST_DEVICE std::uint32_t operator()(Bits weight) const {
    return is_absent(weight) ? 0 : mass_of(weight);
  }
};

template <typename MassOf>
constexpr bool kHasAbsent = false;
template <typename Format>
constexpr bool kHasAbsent<MassOfPresent<Format>> = true;

// A MassOf turns a weight into its mass (see mass.hpp).
template <typename MassOf>
struct LinkWeights {
  using Mass = MassOf;

  const typename MassOf::Bits* weights;
  MassOf mass_of;

  PHEW_HOST_DEVICE std::uint32_t mass(std::int64_t element) const {
    return mass_of(weights[element]);
  }

  PHEW_HOST_DEVICE bool is_edge(std::int64_t element) const {
    if constexpr (kHasAbsent<MassOf>) {
      return !is_absent(weights[element]);
    } else {
      return true;
    }
  }
};

// Calls function(weights) with the LinkWeights of a link, for the fastest MassOf that suits it.
template <typename Function>
void with_weights(const LinkBuffers& buffers, const MassScale& scale, int power,
                  const Function& function) {
  with_format(buffers.dtype, [&](auto format) {
    using Format = decltype(format);
    const auto* weights = static_cast<const typename Format::Bits*>(buffers.weights);
    if (buffers.has_absent) {
      function(LinkWeights<MassOfPresent<Format>>{weights, {{scale, power}}});
      return;
    }
    if constexpr (std::is_same_v<Format, Float32> || std::is_same_v<Format, BFloat16>) {
      if (power == 1 && MassByFloat32<Format>::suits(scale)) {
        function(LinkWeights<MassByFloat32<Format>>{weights, MassByFloat32<Format>(scale)});
        return;
      }
    }
    function(LinkWeights<MassOfAnyPower<Format>>{weights, {scale, power}});
  });
}

// Goes through the edges of a near unit, by far unit of its group and then by kernel position.
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
