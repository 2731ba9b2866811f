#include "phew/sparse/padded_layout.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace phew {

namespace {

// A block is best no larger than half of a processor's second cache: 128k floats are 512 KiB.
constexpr std::size_t kNumbersPerBlock = 128 << 10;
// Images with fewer adjacent pixels than these registers hold are interleaved.
constexpr std::size_t kEnoughRegisters = 3;

std::size_t area(const Sizes& sizes) { return sizes[0] * sizes[1] * sizes[2]; }

// The phases of one dimension. With a stride of 2 and a kernel of 3, position 0 and 2 are in phase
// 0, there at 0 and 1, and position 1 is in phase 1, at 0.
struct Phases {
  // The remainders of positions by the stride, of which each is a phase.
  std::vector<std::size_t> remainders;
  std::vector<std::size_t> phase_of_position;
  std::vector<std::size_t> shift_of_position;
  // Pixels of a phase.
  std::size_t size;

  Phases(const LayerShape& shape, std::size_t dim) {
    std::size_t largest_shift = 0;
    for (std::size_t k = 0; k < shape.kernel_size[dim]; ++k) {
      const std::size_t position = k * shape.dilation[dim];
      const std::size_t remainder = position % shape.stride[dim];
      const auto found = std::find(remainders.begin(), remainders.end(), remainder);
      phase_of_position.push_back(static_cast<std::size_t>(found - remainders.begin()));
      if (found == remainders.end()) remainders.push_back(remainder);
      shift_of_position.push_back(position / shape.stride[dim]);
      largest_shift = std::max(largest_shift, shift_of_position.back());
    }
    size = shape.out_size(dim) + largest_shift;
  }
};

// Appends a run, to the one before it if they are adjacent in both images.
void append(std::vector<PixelRun>& runs, std::size_t dense_step, PixelRun run) {
  if (run.num == 0) return;
  if (!runs.empty() && dense_step == 1) {
    PixelRun& last = runs.back();
    if (last.padded + last.num == run.padded && last.dense + last.num == run.dense) {
      last.num += run.num;
      return;
    }
  }
  runs.push_back(run);
}

// Leaves out the pixels behind the last register, which no output reads.
void cut(PaddedImage& image, std::size_t num_pixels) {
  std::size_t num_left = 0;
  for (PixelRun& run : image.runs) {
    run.num = std::min(run.num, num_pixels - std::min(run.padded, num_pixels));
    num_left += run.num;
  }
  image.is_whole = num_left == image.dense_size;
}

// The pixels of one dimension that a phase has: numbers [first, last) of the phase, of which the
// first is dense pixel `dense`.
struct PhasePixels {
  std::size_t first;
  std::size_t last;
  std::size_t dense;

  PhasePixels(const LayerShape& shape, const Phases& phases, std::size_t dim,
              std::size_t remainder) {
    const std::size_t stride = shape.stride[dim];
    const std::size_t padding = shape.padding[dim];
    first = padding > remainder ? ceil_div(padding - remainder, stride) : 0;
    const std::size_t end = shape.in_size[dim] + padding;
    last = std::min(phases.size, end > remainder ? ceil_div(end - remainder, stride) : 0);
    last = std::max(last, first);
    dense = first * stride + remainder - padding;
  }
};

PaddedImage padded_input(const LayerShape& shape, const std::array<Phases, 3>& phases) {
  PaddedImage image{area(shape.in_size), shape.stride[2], {}, false, 0};
  std::size_t plane = 0;
  for (const std::size_t remainder0 : phases[0].remainders) {
    const PhasePixels pixels0(shape, phases[0], 0, remainder0);
    for (const std::size_t remainder1 : phases[1].remainders) {
      const PhasePixels pixels1(shape, phases[1], 1, remainder1);
      for (const std::size_t remainder2 : phases[2].remainders) {
        const PhasePixels pixels2(shape, phases[2], 2, remainder2);
        for (std::size_t i = pixels0.first; i < pixels0.last; ++i) {
          const std::size_t dense0 = pixels0.dense + (i - pixels0.first) * shape.stride[0];
          for (std::size_t j = pixels1.first; j < pixels1.last; ++j) {
            const std::size_t dense1 = pixels1.dense + (j - pixels1.first) * shape.stride[1];
            append(image.runs, image.dense_step,
                   {plane + (i * phases[1].size + j) * phases[2].size + pixels2.first,
                    (dense0 * shape.in_size[1] + dense1) * shape.in_size[2] + pixels2.dense,
                    pixels2.last - pixels2.first});
          }
        }
        plane += phases[0].size * phases[1].size * phases[2].size;
      }
    }
  }
  return image;
}

PaddedImage padded_output(const LayerShape& shape, const std::array<Phases, 3>& phases) {
  const Sizes size{shape.out_size(0), shape.out_size(1), shape.out_size(2)};
  PaddedImage image{area(size), 1, {}, true, 0};
  for (std::size_t i = 0; i < size[0]; ++i) {
    for (std::size_t j = 0; j < size[1]; ++j) {
      append(image.runs, 1,
             {(i * phases[1].size + j) * phases[2].size, (i * size[1] + j) * size[2], size[2]});
    }
  }
  return image;
}

// Returns where each position of the kernel begins in the padded images of a channel, in pixels.
std::vector<std::size_t> kernel_starts(const LayerShape& shape,
                                       const std::array<Phases, 3>& phases) {
  const std::size_t plane = phases[0].size * phases[1].size * phases[2].size;
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < shape.kernel_size[0]; ++i) {
    for (std::size_t j = 0; j < shape.kernel_size[1]; ++j) {
      for (std::size_t k = 0; k < shape.kernel_size[2]; ++k) {
        const std::size_t phase = (phases[0].phase_of_position[i] * phases[1].remainders.size() +
                                   phases[1].phase_of_position[j]) *
                                      phases[2].remainders.size() +
                                  phases[2].phase_of_position[k];
        starts.push_back(
            phase * plane +
            (phases[0].shift_of_position[i] * phases[1].size + phases[1].shift_of_position[j]) *
                phases[2].size +
            phases[2].shift_of_position[k]);
      }
    }
  }
  return starts;
}

std::size_t choose_images_per_block(const LayerShape& shape, std::size_t num_pixels,
                                    std::size_t adjacent_pixels, std::size_t num_lanes) {
  if (shape.num_images <= 1 || adjacent_pixels >= kEnoughRegisters * num_lanes) return 1;
  const std::size_t fitting = kNumbersPerBlock / (shape.in_channels * num_pixels);
  const std::size_t most = std::clamp(fitting / num_lanes, std::size_t{1}, kMaxRegistersPerTile);
  const std::size_t num_registers = ceil_div(shape.num_images, num_lanes);
  const std::size_t num_blocks = ceil_div(num_registers, most);
  return ceil_div(num_registers, num_blocks) * num_lanes;
}

}  // namespace

PaddedLayout padded_layout(const LayerShape& shape, std::size_t num_lanes) {
  const std::array<Phases, 3> phases{Phases(shape, 0), Phases(shape, 1), Phases(shape, 2)};
  PaddedLayout layout{};
  layout.num_lanes = num_lanes;
  layout.input = padded_input(shape, phases);
  layout.output = padded_output(shape, phases);
  const std::vector<std::size_t> starts = kernel_starts(shape, phases);
  const std::size_t adjacent_pixels =
      layout.output.runs.empty() ? 0
                                 : layout.output.runs.back().padded + layout.output.runs.back().num;
  const std::size_t last_start = *std::max_element(starts.begin(), starts.end());
  layout.images_per_block =
      choose_images_per_block(shape, last_start + adjacent_pixels, adjacent_pixels, num_lanes);
  layout.num_blocks = ceil_div(shape.num_images, layout.images_per_block);
  layout.num_adjacent = adjacent_pixels * layout.images_per_block;
  layout.output.padded_size = ceil_div(layout.num_adjacent, num_lanes) * num_lanes;
  layout.input.padded_size = last_start * layout.images_per_block + layout.output.padded_size;
  cut(layout.input, layout.input.padded_size / layout.images_per_block);
  cut(layout.output, layout.output.padded_size / layout.images_per_block);
  if (shape.channels_per_group() * layout.input.padded_size >
      std::numeric_limits<std::uint32_t>::max()) {
    throw std::invalid_argument(
        "input must have fewer than 2^32 numbers, with its padding, in the channels of a "
        "group, got " +
        std::to_string(shape.channels_per_group()) + " channels of " +
        std::to_string(layout.input.padded_size) + ".");
  }
  layout.offsets.reserve(shape.num_columns());
  for (std::size_t channel = 0; channel < shape.channels_per_group(); ++channel) {
    for (const std::size_t start : starts) {
      layout.offsets.push_back(static_cast<std::uint32_t>(channel * layout.input.padded_size +
                                                          start * layout.images_per_block));
    }
  }
  return layout;
}

bool PaddedLayout::has_dense_results() const {
  return images_per_block == 1 && output.is_plain() && num_adjacent >= num_lanes;
}

void PaddedLayout::use_dense_inputs(const LayerShape& shape) {
  const std::size_t num_left_out = input.padded_size - input.dense_size;
  input.padded_size = input.dense_size;
  for (std::size_t column = 0; column < offsets.size(); ++column) {
    const std::size_t channel = column / shape.kernel_area();
    offsets[column] -= static_cast<std::uint32_t>(channel * num_left_out);
  }
}

std::vector<PlacedTile> PaddedLayout::tiles(bool overlapping) const {
  const std::size_t num_registers = ceil_div(num_adjacent, num_lanes);
  const std::size_t num_tiles = ceil_div(num_registers, kMaxRegistersPerTile);
  std::vector<PlacedTile> tiles;
  for (std::size_t i = 0; i < num_tiles; ++i) {
    const std::size_t first = num_registers * i / num_tiles;
    const std::size_t last = num_registers * (i + 1) / num_tiles;
    std::size_t last_start = (last - 1) * num_lanes;
    if (overlapping && i + 1 == num_tiles) last_start = num_adjacent - num_lanes;
    const std::size_t start = first * num_lanes;
    tiles.push_back({start, {offsets.data(), last - first, last_start - start}});
  }
  return tiles;
}

}  // namespace phew
