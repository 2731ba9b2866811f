#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "phew/sparse/layer_shape.hpp"
#include "phew/sparse/padded_layout.hpp"

namespace {

// A run: where it begins in the padded and in the dense image, and its number of pixels.
using Run = std::tuple<std::size_t, std::size_t, std::size_t>;
// A tile: where it begins, its number of registers, and where in it the last of them begins.
using PlainTile = std::tuple<std::size_t, std::size_t, std::size_t>;
using Offsets = std::vector<std::uint32_t>;

std::vector<Run> runs_of(const phew::PaddedImage& image) {
  std::vector<Run> runs;
  runs.reserve(image.runs.size());
  for (const phew::PixelRun& run : image.runs) runs.emplace_back(run.padded, run.dense, run.num);
  return runs;
}

std::vector<PlainTile> tiles_of(const phew::PaddedLayout& layout, bool overlapping) {
  std::vector<PlainTile> tiles;
  for (const auto& [start, tile] : layout.tiles(overlapping)) {
    CHECK(tile.offsets == layout.offsets.data());
    tiles.emplace_back(start, tile.num_registers, tile.last_start);
  }
  return tiles;
}

// Makes the shape of a layer with images of one row and kernels of the size 1.
phew::LayerShape shape_of_rows(std::size_t num_images, std::size_t in_channels, std::size_t size) {
  phew::LayerShape shape{num_images, in_channels, 1};
  shape.in_size = {1, 1, size};
  return shape;
}

}  // namespace

TEST_CASE("images are padded as the header shows") {
  phew::LayerShape shape{1, 2, 1};
  shape.in_size = {1, 3, 4};
  shape.kernel_size = {1, 3, 3};
  shape.padding = {0, 1, 1};
  for (const std::size_t num_lanes : {2U, 4U, 8U, 16U}) {
    const phew::PaddedLayout layout = phew::padded_layout(shape, num_lanes);
    CHECK(layout.num_lanes == num_lanes);
    CHECK(layout.images_per_block == 1);
    CHECK(layout.num_blocks == 1);
    CHECK(layout.input.dense_size == 12);
    CHECK(layout.input.dense_step == 1);
    CHECK(runs_of(layout.input) == std::vector<Run>{{7, 0, 4}, {13, 4, 4}, {19, 8, 4}});
    CHECK(layout.input.is_whole);
    CHECK_FALSE(layout.input.is_plain());
    CHECK(layout.output.dense_size == 12);
    CHECK(runs_of(layout.output) == std::vector<Run>{{0, 0, 4}, {6, 4, 4}, {12, 8, 4}});
    CHECK(layout.output.is_whole);
    CHECK_FALSE(layout.output.is_plain());
    // The last position of the kernel reads the last 16 of the padded image's 30 pixels.
    CHECK(layout.num_adjacent == 16);
    CHECK(layout.output.padded_size == 16);
    CHECK(layout.input.padded_size == 30);
    CHECK(layout.offsets ==
          Offsets{0, 1, 2, 6, 7, 8, 12, 13, 14, 30, 31, 32, 36, 37, 38, 42, 43, 44});
    CHECK_FALSE(layout.has_dense_results());
  }
}

TEST_CASE("padded images have room for full registers") {
  phew::LayerShape shape = shape_of_rows(1, 2, 5);
  shape.kernel_size = {1, 1, 2};
  const phew::PaddedLayout layout = phew::padded_layout(shape, 8);
  CHECK(layout.num_adjacent == 4);
  CHECK(layout.output.padded_size == 8);
  CHECK(layout.input.padded_size == 9);
  CHECK(layout.offsets == Offsets{0, 1, 9, 10});
  // Results would not fill a register.
  CHECK(layout.output.is_plain());
  CHECK_FALSE(layout.has_dense_results());
}

TEST_CASE("pixels of a row are in as many phases as the stride says") {
  // The padded row . a b c d e . becomes . b d . and a c e.
  phew::LayerShape shape = shape_of_rows(1, 1, 5);
  shape.kernel_size = {1, 1, 3};
  shape.stride = {1, 1, 2};
  shape.padding = {0, 0, 1};
  const phew::PaddedLayout layout = phew::padded_layout(shape, 4);
  CHECK(layout.input.dense_step == 2);
  CHECK(runs_of(layout.input) == std::vector<Run>{{1, 1, 2}, {4, 0, 3}});
  CHECK(layout.input.is_whole);
  CHECK(runs_of(layout.output) == std::vector<Run>{{0, 0, 3}});
  CHECK(layout.output.dense_step == 1);
  CHECK(layout.num_adjacent == 3);
  CHECK(layout.offsets == Offsets{0, 4, 1});
  CHECK(layout.input.padded_size == 8);
}

TEST_CASE("pixels of a plane are in four phases with a stride of 2") {
  phew::LayerShape shape{1, 1, 1};
  shape.in_size = {1, 4, 4};
  shape.kernel_size = {1, 2, 2};
  shape.stride = {1, 2, 2};
  const phew::PaddedLayout layout = phew::padded_layout(shape, 4);
  CHECK(runs_of(layout.input) == std::vector<Run>{{0, 0, 2},
                                                  {2, 8, 2},
                                                  {4, 1, 2},
                                                  {6, 9, 2},
                                                  {8, 4, 2},
                                                  {10, 12, 2},
                                                  {12, 5, 2},
                                                  {14, 13, 2}});
  CHECK(layout.input.is_whole);
  CHECK(layout.offsets == Offsets{0, 4, 8, 12});
  CHECK(layout.input.padded_size == 16);
  CHECK(layout.has_dense_results());
  CHECK_FALSE(layout.has_dense_inputs());
}

TEST_CASE("pixels that no output reads are left out") {
  SUBCASE("because the stride is larger than the kernel") {
    phew::LayerShape shape = shape_of_rows(1, 1, 5);
    shape.stride = {1, 1, 2};
    const phew::PaddedLayout layout = phew::padded_layout(shape, 4);
    CHECK(runs_of(layout.input) == std::vector<Run>{{0, 0, 3}});
    CHECK_FALSE(layout.input.is_whole);
    CHECK_FALSE(layout.input.is_plain());
  }
  SUBCASE("because they are behind the last register") {
    // The rows of the two phases are a c e g i and b d f h j, of which j is not read.
    phew::LayerShape shape = shape_of_rows(1, 1, 10);
    shape.kernel_size = {1, 1, 3};
    shape.stride = {1, 1, 2};
    const phew::PaddedLayout layout = phew::padded_layout(shape, 4);
    CHECK(layout.offsets == Offsets{0, 5, 1});
    CHECK(layout.input.padded_size == 9);
    CHECK(runs_of(layout.input) == std::vector<Run>{{0, 0, 5}, {5, 1, 4}});
    CHECK_FALSE(layout.input.is_whole);
  }
}

TEST_CASE("features of linear layers are interleaved") {
  SUBCASE("with room for images that are missing") {
    const phew::PaddedLayout layout = phew::padded_layout({5, 3, 2}, 4);
    CHECK(layout.images_per_block == 8);
    CHECK(layout.num_blocks == 1);
    CHECK(layout.num_adjacent == 8);
    CHECK(layout.input.padded_size == 8);
    CHECK(layout.output.padded_size == 8);
    CHECK(layout.offsets == Offsets{0, 8, 16});
    CHECK(layout.input.is_plain());
    CHECK_FALSE(layout.has_dense_results());
  }
  SUBCASE("in blocks of one tile, which are alike") {
    // Ten registers are too many for a tile.
    const phew::PaddedLayout layout = phew::padded_layout({40, 3, 2}, 4);
    CHECK(layout.images_per_block == 20);
    CHECK(layout.num_blocks == 2);
  }
  SUBCASE("in blocks that a cache holds") {
    const phew::PaddedLayout layout = phew::padded_layout({40, 100'000, 2}, 4);
    CHECK(layout.images_per_block == 4);
    CHECK(layout.num_blocks == 10);
  }
  SUBCASE("unless there is one image") {
    const phew::PaddedLayout layout = phew::padded_layout({1, 3, 2}, 4);
    CHECK(layout.images_per_block == 1);
    CHECK(layout.num_adjacent == 1);
    CHECK(layout.input.padded_size == 4);
    CHECK(layout.offsets == Offsets{0, 4, 8});
  }
}

TEST_CASE("images are interleaved if they fill few registers") {
  const phew::PaddedLayout layout = phew::padded_layout(shape_of_rows(3, 2, 11), 4);
  CHECK(layout.images_per_block == 4);
  CHECK(layout.num_adjacent == 44);
  CHECK(layout.offsets == Offsets{0, 44});
  CHECK(phew::padded_layout(shape_of_rows(3, 2, 12), 4).images_per_block == 1);
}

TEST_CASE("the last register overlaps where results may not be longer") {
  SUBCASE("in one tile") {
    const phew::PaddedLayout layout = phew::padded_layout(shape_of_rows(1, 2, 40), 16);
    CHECK(tiles_of(layout, false) == std::vector<PlainTile>{{0, 3, 32}});
    CHECK(tiles_of(layout, true) == std::vector<PlainTile>{{0, 3, 24}});
  }
  SUBCASE("in the last tile") {
    const phew::PaddedLayout layout = phew::padded_layout(shape_of_rows(1, 2, 150), 16);
    CHECK(tiles_of(layout, false) == std::vector<PlainTile>{{0, 5, 64}, {80, 5, 64}});
    CHECK(tiles_of(layout, true) == std::vector<PlainTile>{{0, 5, 64}, {80, 5, 54}});
  }
  SUBCASE("not at all if registers are full") {
    const phew::PaddedLayout layout = phew::padded_layout(shape_of_rows(1, 2, 16), 16);
    CHECK(tiles_of(layout, false) == std::vector<PlainTile>{{0, 1, 0}});
    CHECK(tiles_of(layout, true) == std::vector<PlainTile>{{0, 1, 0}});
  }
}

TEST_CASE("inputs are read where torch has them if padding changes nothing") {
  phew::LayerShape shape = shape_of_rows(1, 2, 41);
  shape.kernel_size = {1, 1, 2};
  phew::PaddedLayout layout = phew::padded_layout(shape, 16);
  CHECK(layout.has_dense_inputs());
  CHECK(layout.input.padded_size == 49);
  CHECK(layout.offsets == Offsets{0, 1, 49, 50});
  layout.use_dense_inputs(shape);
  CHECK(layout.input.padded_size == 41);
  CHECK(layout.offsets == Offsets{0, 1, 41, 42});
}

TEST_CASE("images that are too large for offsets are refused") {
  phew::LayerShape shape{1, 1, 1};
  shape.in_size = {1, 70'000, 70'000};
  CHECK_THROWS_AS(phew::padded_layout(shape, 16), std::invalid_argument);
}
