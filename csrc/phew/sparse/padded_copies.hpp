// Copies of images between torch's memory and padded layouts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "phew/arithmetic/bfloat16.hpp"
#include "phew/loops/loops.hpp"
#include "phew/sparse/padded_layout.hpp"

namespace phew {

inline void convert(const BFloat16Number* from, std::size_t num, float* to) {
  for (std::size_t i = 0; i < num; ++i) to[i] = to_float(from[i]);
}
inline void convert(const float* from, std::size_t num, BFloat16Number* to) {
  for (std::size_t i = 0; i < num; ++i) to[i] = to_bfloat16(from[i]);
}
template <typename Number>
void convert(const Number* from, std::size_t num, Number* to) {
  std::copy_n(from, num, to);
}

// Copies channels of the images of a block. A channel of one image is `image_stride` values from
// that of the next, and `padded_size` numbers hold that of all of them.
//
// Value is the type in torch's memory, Number the one that products are added in.
template <typename Value, typename Number>
class PaddedCopies {
 public:
  PaddedCopies(TransposeFunction transpose, const PaddedImage& image, std::size_t images_per_block,
               std::size_t image_stride)
      : transpose_(transpose),
        image_(image),
        images_per_block_(images_per_block),
        image_stride_(image_stride),
        is_gapless_(image.is_plain() && image.padded_size == image.dense_size * images_per_block) {}

  // Pads the channels; values of images that are missing in the block are zero.
  void pad(const Value* dense, std::size_t num_images, std::size_t num_channels, Number* padded) {
    // Channels without gaps are as one.
    const std::size_t num_parts = is_gapless_ ? 1 : num_channels;
    const std::size_t size = image_.dense_size * (is_gapless_ ? num_channels : 1);
    for (std::size_t i = 0; i < num_parts; ++i) {
      const Value* from = dense + i * image_.dense_size;
      Number* to = padded + i * image_.padded_size;
      if (images_per_block_ > 1) {
        Number* together = is_gapless_ ? to : reserve(together_, size * images_per_block_);
        interleave(from, num_images, size, together);
        if (!is_gapless_) pad_one(together, to);
      } else if (is_gapless_) {
        convert(from, size, to);
      } else {
        pad_one(from, to);
      }
    }
  }

  // Copies the pixels back. Pixels that the padded images do not have become zero.
  void unpad(const Number* padded, std::size_t num_images, std::size_t num_channels, Value* dense) {
    const std::size_t num_parts = is_gapless_ ? 1 : num_channels;
    const std::size_t size = image_.dense_size * (is_gapless_ ? num_channels : 1);
    for (std::size_t i = 0; i < num_parts; ++i) {
      const Number* from = padded + i * image_.padded_size;
      Value* to = dense + i * image_.dense_size;
      if (images_per_block_ > 1) {
        const Number* together = from;
        if (!is_gapless_) {
          Number* taken = reserve(together_, size * images_per_block_);
          unpad_one(from, taken);
          together = taken;
        }
        separate(together, num_images, size, to);
      } else if (is_gapless_) {
        convert(from, size, to);
      } else {
        unpad_one(from, to);
      }
    }
  }

 private:
  static Number* reserve(std::vector<Number>& numbers, std::size_t size) {
    if (numbers.size() < size) numbers.resize(size);
    return numbers.data();
  }

  void interleave(const Value* dense, std::size_t num_images, std::size_t size, Number* together) {
    if (num_images < images_per_block_) {
      std::fill_n(together, size * images_per_block_, Number{});
    }
    if constexpr (std::is_same_v<Value, Number>) {
      transpose_(dense, image_stride_, num_images, size, together, images_per_block_);
    } else {
      Number* converted = reserve(converted_, num_images * size);
      for (std::size_t n = 0; n < num_images; ++n) {
        convert(dense + n * image_stride_, size, converted + n * size);
      }
      transpose_(converted, size, num_images, size, together, images_per_block_);
    }
  }

  void separate(const Number* together, std::size_t num_images, std::size_t size, Value* dense) {
    if constexpr (std::is_same_v<Value, Number>) {
      transpose_(together, images_per_block_, size, num_images, dense, image_stride_);
    } else {
      Number* converted = reserve(converted_, num_images * size);
      transpose_(together, images_per_block_, size, num_images, converted, size);
      for (std::size_t n = 0; n < num_images; ++n) {
        convert(converted + n * size, size, dense + n * image_stride_);
      }
    }
  }

  template <typename From>
  void pad_one(const From* dense, Number* padded) {
    std::fill_n(padded, image_.padded_size, Number{});
    for (const PixelRun& run : image_.runs) {
      copy_pixels(dense + run.dense * images_per_block_, image_.dense_step,
                  padded + run.padded * images_per_block_, 1, run.num);
    }
  }

  template <typename To>
  void unpad_one(const Number* padded, To* dense) {
    if (!image_.is_whole) std::fill_n(dense, image_.dense_size * images_per_block_, To{});
    for (const PixelRun& run : image_.runs) {
      copy_pixels(padded + run.padded * images_per_block_, 1, dense + run.dense * images_per_block_,
                  image_.dense_step, run.num);
    }
  }

  // Copies pixels that are so many steps apart; each is a number of every interleaved image.
  template <typename From, typename To>
  void copy_pixels(const From* from, std::size_t from_step, To* to, std::size_t to_step,
                   std::size_t num) {
    if (from_step == 1 && to_step == 1) return convert(from, num * images_per_block_, to);
    if (images_per_block_ == 1) {
      for (std::size_t i = 0; i < num; ++i) convert(from + i * from_step, 1, to + i * to_step);
      return;
    }
    for (std::size_t i = 0; i < num; ++i) {
      convert(from + i * from_step * images_per_block_, images_per_block_,
              to + i * to_step * images_per_block_);
    }
  }

  TransposeFunction transpose_;
  const PaddedImage& image_;
  std::size_t images_per_block_;
  std::size_t image_stride_;
  // Whether channels follow each other in both memories, as if they were pixels of one.
  bool is_gapless_;
  std::vector<Number> together_;
  std::vector<Number> converted_;
};

}  // namespace phew
