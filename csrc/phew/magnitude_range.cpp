#include "phew/magnitude_range.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phew {
namespace {

struct Dimension {
  std::int64_t stride;
  std::uint32_t size;
};

// In the order in which nested loops over them read the memory forwards. Groups are the outermost
// whatever the stride of a single one.
std::array<Dimension, 4> sort_dimensions(const WeightedLink& link) {
  std::array<Dimension, 4> dimensions{{{link.strides[0], link.num_groups},
                                       {link.strides[1], link.targets_per_group},
                                       {link.strides[2], link.sources_per_group},
                                       {link.strides[3], link.num_positions}}};
  std::sort(dimensions.begin() + 1, dimensions.end(),
            [](const Dimension& a, const Dimension& b) { return a.stride > b.stride; });
  return dimensions;
}

// The extremes of magnitudes as bits. A magnitude less one, in unsigned numbers, makes zero the
// largest, so that the smallest is that of the nonzero ones.
template <typename Bits>
struct Extremes {
  Bits largest = 0;
  Bits smallest_less_one = static_cast<Bits>(-1);

  void add(Bits weight) {
    const Bits magnitude = magnitude_bits(weight);
    largest = std::max(largest, magnitude);
    smallest_less_one = std::min(smallest_less_one, static_cast<Bits>(magnitude - 1));
  }

  void add(const Extremes& other) {
    largest = std::max(largest, other.largest);
    smallest_less_one = std::min(smallest_less_one, other.smallest_less_one);
  }
};

template <typename Format>
MagnitudeRange measure(Workers& workers, const WeightedLink& link,
                       const typename Format::Bits* weights) {
  using Bits = typename Format::Bits;
  const std::array<Dimension, 4> dimensions = sort_dimensions(link);
  std::vector<Extremes<Bits>> extremes(workers.size());
  workers.for_each(
      std::size_t{dimensions[0].size} * dimensions[1].size, [&](unsigned thread, std::size_t task) {
        const auto& [first, second, third, fourth] = dimensions;
        const Bits* block = weights + link.offset +
                            static_cast<std::int64_t>(task / second.size) * first.stride +
                            static_cast<std::int64_t>(task % second.size) * second.stride;
        Extremes<Bits> found;
        for (std::uint32_t i = 0; i < third.size; ++i) {
          const Bits* row = block + i * third.stride;
          for (std::uint32_t j = 0; j < fourth.size; ++j) found.add(row[j * fourth.stride]);
        }
        extremes[thread].add(found);
      });
  Extremes<Bits> all;
  for (const Extremes<Bits>& found : extremes) all.add(found);
  if (all.largest == 0) return {0, 0, true};
  if (all.largest >= Format::kInfinity) return {0, 0, false};
  return {Format::to_double(static_cast<Bits>(all.smallest_less_one + 1)),
          Format::to_double(all.largest), true};
}

}  // namespace

MagnitudeRange measure_magnitudes(Workers& workers, const WeightedLink& link,
                                  const LinkBuffers& buffers) {
  return with_format(buffers.dtype, [&](auto format) {
    using Format = decltype(format);
    return measure<Format>(workers, link,
                           static_cast<const typename Format::Bits*>(buffers.weights));
  });
}

}  // namespace phew
