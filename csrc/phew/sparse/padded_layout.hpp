// How the images of a layer lie in memory while kept weights are multiplied by them.
//
// A kept weight of a convolution belongs to an input channel and a position of the kernel. It is
// multiplied by the pixels of the channel, moved by that position. They are adjacent if the images
// are padded. With a kernel of 3 x 3 and a padding of 1, an image of 3 x 4 pixels a to l becomes
//
//   . . . . . .
//   . a b c d .
//   . e f g h .
//   . i j k l .
//   . . . . . .
//
// and the weight at the kernel's row 1, column 2 is multiplied by the 16 numbers from b to l and
// its padding. These are the 12 of its outputs, and after each row two others, which nobody reads.
//
//   Stride 2: the pixels of even and odd rows and columns are four images ("phases"), in which
//     neighbours of an output's pixel are adjacent again.
//   Small images, and features of linear layers: pixels of several images are interleaved, a0 a1 a2
//     b0 b1 b2 for three images, so that there are enough adjacent numbers to fill a register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/loops/sparse_loops.hpp"
#include "phew/sparse/layer_shape.hpp"

namespace phew {

// Pixels that are adjacent in a padded image. In the dense one they are some step apart.
struct PixelRun {
  std::size_t padded;
  std::size_t dense;
  std::size_t num;
};

// One channel of an image.
struct PaddedImage {
  std::size_t dense_size;
  std::size_t dense_step;
  std::vector<PixelRun> runs;
  // Whether the runs have all pixels of the dense image.
  bool is_whole;
  // Numbers in memory, of interleaved images together, with room for full registers.
  std::size_t padded_size;

  // Whether padding changes nothing.
  bool is_plain() const {
    return runs.size() == 1 && is_whole && runs[0].padded == 0 && dense_step == 1;
  }
};

// A tile, and the first of the adjacent numbers that it has.
struct PlacedTile {
  std::size_t start;
  Tile tile;
};

struct PaddedLayout {
  // So many images are interleaved, which is one block.
  std::size_t images_per_block;
  std::size_t num_blocks;
  PaddedImage input;
  PaddedImage output;
  // Where the numbers begin that a kept weight is multiplied by, by its column, after those of its
  // group's first channel.
  std::vector<std::uint32_t> offsets;
  // Numbers from the first pixel of an output to its last one.
  std::size_t num_adjacent;
  std::size_t num_lanes;

  // Whether results can be written where torch has them, and whether inputs can be read there.
  bool has_dense_results() const;
  bool has_dense_inputs() const { return has_dense_results() && input.is_plain(); }

  // Places inputs as torch does.
  void use_dense_inputs(const LayerShape& shape);

  // Cuts the adjacent numbers into tiles. If the results may not be longer than these, the last
  // register overlaps the one before it.
  std::vector<PlacedTile> tiles(bool overlapping) const;
};

// Returns the layout for registers of so many numbers. Throws std::invalid_argument if an image is
// too large for offsets of 32 bits.
PaddedLayout padded_layout(const LayerShape& shape, std::size_t num_lanes);

}  // namespace phew
