// The shape of a sparse layer and of what it is applied to.
#pragma once

#include <array>
#include <cstddef>

namespace phew {

inline std::size_t ceil_div(std::size_t number, std::size_t divisor) {
  return (number + divisor - 1) / divisor;
}

// Numbers for each dimension of an image. Images of fewer dimensions than three have further ones
// of size 1 before their own: one of 28 x 28 pixels is 1 x 28 x 28, and an input of a linear layer
// is an image of one pixel, whose features are channels.
using Sizes = std::array<std::size_t, 3>;

// A convolution, as torch's Conv3d has it, or a linear layer.
struct LayerShape {
  std::size_t num_images;
  std::size_t in_channels;
  std::size_t out_channels;
  std::size_t groups = 1;
  Sizes in_size{1, 1, 1};
  Sizes kernel_size{1, 1, 1};
  Sizes stride{1, 1, 1};
  Sizes padding{0, 0, 0};
  Sizes dilation{1, 1, 1};

  std::size_t channels_per_group() const { return in_channels / groups; }
  std::size_t rows_per_group() const { return out_channels / groups; }
  std::size_t kernel_area() const { return kernel_size[0] * kernel_size[1] * kernel_size[2]; }
  // Columns of the weight, which is a matrix with a row for each output channel.
  std::size_t num_columns() const { return channels_per_group() * kernel_area(); }
  std::size_t out_size(std::size_t dim) const {
    return (in_size[dim] + 2 * padding[dim] - dilation[dim] * (kernel_size[dim] - 1) - 1) /
               stride[dim] +
           1;
  }
};

}  // namespace phew
