#include "phew/sparse/products.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "phew/arithmetic/bfloat16.hpp"
#include "phew/sparse/padded_copies.hpp"
#include "phew/sparse/padded_layout.hpp"
#include "phew/sparse/row_parts.hpp"
#include "phew/sparse/scratch.hpp"
#include "phew/threads/shared_threads.hpp"

namespace phew {

namespace {

// Blocks are padded together as long as they fit in so many bytes, so that threads seldom wait for
// each other.
constexpr std::size_t kScratchSize = 4 << 20;
// Results of so many bytes, or of one register of channels, are copied to their place at once,
// while they are in a processor's cache.
constexpr std::size_t kResultsSize = 128 << 10;
// From this density on, two to four vectors are multiplied by the bits of the mask rather than by
// columns. By columns, one vector takes 0.6 of the time at 50 % on the newer of two processors.
constexpr double kDensityOfBits = 0.3;
// There are several tasks for each thread, as some take longer than others.
constexpr std::size_t kTasksPerThread = 4;
// Other threads are not worth waking for fewer numbers, which take some 10 us.
constexpr std::size_t kWorthThreads = 200'000;

std::size_t size_of(Range range) { return range.last - range.first; }

// The part of a range in another one, counted from the other one's first number.
Range part_in(Range range, Range other) {
  const std::size_t first = std::clamp(range.first, other.first, other.last) - other.first;
  return {first, std::clamp(range.last, other.first, other.last) - other.first};
}

template <typename Value>
class Product {
 public:
  // The type that products are added in.
  using Number = std::conditional_t<std::is_same_v<Value, BFloat16Number>, float, Value>;
  static constexpr bool kConverts = !std::is_same_v<Value, Number>;

  Product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
          unsigned num_threads)
      : loops_(loops.sparse[std::is_same_v<Value, double> ? 0
                            : kConverts                   ? 2
                                                          : 1]),
        transpose_(loops.transpose[std::is_same_v<Number, double> ? 2 : 1]),
        shape_(shape),
        weight_(weight),
        layout_(padded_layout(shape, loops_.num_lanes)),
        num_threads_(is_small() ? 1 : num_threads) {}

  void apply(const Value* input, const Value* bias, Value* output) {
    if (shape_.num_images == 0) return;
    const bool is_linear = shape_.kernel_area() == 1 && layout_.input.is_plain() &&
                           layout_.output.dense_size == 1 && shape_.groups == 1;
    if (is_linear) {
      const bool by_bits = loops_.multiply_by_bits != nullptr && shape_.num_images > 1 &&
                           shape_.num_images <= kMaxVectors && density() >= kDensityOfBits;
      if (by_bits || shape_.num_images == 1) return apply_to_vectors(input, bias, output, by_bits);
    }
    const bool is_dense = !kConverts && layout_.has_dense_results();
    if constexpr (!kConverts) {
      if (layout_.has_dense_inputs()) {
        layout_.use_dense_inputs(shape_);
        const auto tiles = layout_.tiles(true);
        for_each_rows({0, layout_.num_blocks}, [&](std::size_t block, Range rows) {
          multiply(tiles, rows, input + block * in_size(), bias,
                   output + (block * shape_.out_channels + rows.first) * layout_.output.dense_size,
                   layout_.output.dense_size);
        });
        return;
      }
    }
    const auto tiles = layout_.tiles(is_dense);
    for_each_group(in_size(), [&](Range blocks) {
      const auto sources = padded_inputs(input, blocks);
      for_each_rows(blocks, [&](std::size_t block, Range rows) {
        const Number* source = sources.get() + (block - blocks.first) * in_size();
        Value* to =
            output + first_image(block) * out_stride() + rows.first * layout_.output.dense_size;
        if constexpr (!kConverts) {
          if (is_dense) {
            multiply(tiles, rows, source, bias, to, layout_.output.dense_size);
            return;
          }
        }
        multiply_and_unpad(tiles, rows, source, bias, num_images(block), to);
      });
    });
  }

  void apply_transposed(const Value* out_gradient, Value* in_gradient) {
    if (shape_.num_images == 0) return;
    const auto tiles = layout_.tiles(false);
    for_each_group(in_size() + out_size(), [&](Range blocks) {
      const auto gradients = padded_gradients(out_gradient, blocks);
      const auto sources = scratch<Number>(size_of(blocks) * in_size());
      for_each_part(blocks, shape_.in_channels, [&](std::size_t block, Range channels) {
        Number* source = sources.get() + (block - blocks.first) * in_size();
        const std::size_t channel_size = layout_.input.padded_size;
        std::fill_n(source + channels.first * channel_size, size_of(channels) * channel_size,
                    Number{});
        const Number* gradient = gradients.get() + (block - blocks.first) * out_size();
        for (const PlacedTile& placed : tiles) {
          for (std::size_t group = 0; group < shape_.groups; ++group) {
            const Range part = part_in(channels, channels_of(group));
            if (size_of(part) == 0) continue;
            const Range columns{part.first * shape_.kernel_area(),
                                part.last * shape_.kernel_area()};
            const Range rows = rows_of(group);
            loops_.add_transposed(weight_.matrix, rows, columns, placed.tile,
                                  gradient + rows.first * layout_.output.padded_size + placed.start,
                                  layout_.output.padded_size,
                                  source + start_of(group) + placed.start);
          }
        }
        copies_of(layout_.input, in_stride())
            .unpad(source + channels.first * channel_size, num_images(block), size_of(channels),
                   in_gradient + first_image(block) * in_stride() +
                       channels.first * layout_.input.dense_size);
      });
    });
  }

  void apply_sampled(const Value* out_gradient, const Value* input, Value* weight_gradient) {
    if constexpr (kConverts) {
      const auto sums = scratch<Number>(num_kept());
      add_sampled(out_gradient, input, sums.get());
      convert(sums.get(), num_kept(), weight_gradient);
    } else {
      add_sampled(out_gradient, input, weight_gradient);
    }
  }

 private:
  // Applies a linear layer to one vector, or to few of them if many weights are kept.
  void apply_to_vectors(const Value* input, const Value* bias, Value* output, bool by_bits) {
    const std::size_t num_columns = shape_.in_channels;
    // The loops read full registers.
    const std::size_t stride = ceil_div(num_columns, loops_.num_lanes) * loops_.num_lanes;
    const auto vectors = scratch<Number>(shape_.num_images * stride);
    for (std::size_t n = 0; n < shape_.num_images; ++n) {
      convert(input + n * num_columns, num_columns, vectors.get() + n * stride);
      std::fill_n(vectors.get() + n * stride + num_columns, stride - num_columns, Number{});
    }
    const auto multiply_rows = [&](Range rows, Number* results) {
      if (!by_bits) {
        loops_.multiply_vector(weight_.matrix, rows, vectors.get(), bias, results);
        return;
      }
      loops_.multiply_by_bits(weight_.matrix, weight_.bits, num_columns, rows, shape_.num_images,
                              vectors.get(), stride, bias, results, shape_.out_channels);
    };
    for_each_rows({0, 1}, [&](std::size_t, Range rows) {
      if constexpr (kConverts) {
        const auto results = scratch<Number>(size_of(rows));
        multiply_rows(rows, results.get());
        convert(results.get(), size_of(rows), output + rows.first);
      } else {
        multiply_rows(rows, output + rows.first);
      }
    });
  }

  // Multiplies rows by a block's numbers; results are `stride` apart.
  void multiply(const std::vector<PlacedTile>& tiles, Range rows, const Number* source,
                const Value* bias, Number* results, std::size_t stride) {
    for (const PlacedTile& placed : tiles) {
      for_each_conv_group(rows, [&](std::size_t group, Range part) {
        loops_.multiply(weight_.matrix, part, placed.tile, source + start_of(group) + placed.start,
                        bias, results + (part.first - rows.first) * stride + placed.start, stride);
      });
    }
  }

  void multiply_and_unpad(const std::vector<PlacedTile>& tiles, Range rows, const Number* source,
                          const Value* bias, std::size_t num, Value* output) {
    const std::size_t stride = layout_.output.padded_size;
    const std::size_t most = std::max(kResultsSize / (stride * sizeof(Number)), loops_.num_lanes);
    const auto results = scratch<Number>(std::min(most, size_of(rows)) * stride);
    auto copies = copies_of(layout_.output, out_stride());
    for (std::size_t first = rows.first; first < rows.last; first += most) {
      const Range part{first, std::min(first + most, rows.last)};
      multiply(tiles, part, source, bias, results.get(), stride);
      copies.unpad(results.get(), num, size_of(part),
                   output + (first - rows.first) * layout_.output.dense_size);
    }
  }

  void add_sampled(const Value* out_gradient, const Value* input, Number* sums) {
    const std::int64_t* row_starts = weight_.matrix.row_starts;
    std::fill_n(sums, num_kept(), Number{});
    if (shape_.num_images == 0) return;
    const auto tiles = layout_.tiles(false);
    const std::vector<Range> chunks = row_parts(weight_.matrix, shape_.out_channels, num_chunks(1));
    for_each_group(in_size() + out_size(), [&](Range blocks) {
      const auto gradients = padded_gradients(out_gradient, blocks);
      const auto sources = padded_inputs(input, blocks);
      for_each_task(num_threads_, chunks.size(), [&](std::size_t task) {
        for (std::size_t block = 0; block < size_of(blocks); ++block) {
          const Number* source = sources.get() + block * in_size();
          const Number* gradient = gradients.get() + block * out_size();
          for (const PlacedTile& placed : tiles) {
            for_each_conv_group(chunks[task], [&](std::size_t group, Range rows) {
              loops_.add_sampled(weight_.matrix, rows, placed.tile,
                                 gradient + rows.first * layout_.output.padded_size + placed.start,
                                 layout_.output.padded_size,
                                 source + start_of(group) + placed.start,
                                 sums + row_starts[rows.first]);
            });
          }
        }
      });
    });
  }

  std::size_t num_kept() const {
    return static_cast<std::size_t>(weight_.matrix.row_starts[shape_.out_channels]);
  }

  double density() const {
    return static_cast<double>(num_kept()) /
           static_cast<double>(shape_.num_columns() * shape_.out_channels);
  }

  // Whether few numbers are multiplied and copied.
  bool is_small() const {
    const std::size_t num_multiplied = num_kept() * layout_.num_adjacent * layout_.num_blocks;
    return num_multiplied + shape_.num_images * (in_stride() + out_stride()) < kWorthThreads;
  }

  // Numbers in the padded inputs and outputs of a block.
  std::size_t in_size() const { return shape_.in_channels * layout_.input.padded_size; }
  std::size_t out_size() const { return shape_.out_channels * layout_.output.padded_size; }
  // Values in an image.
  std::size_t in_stride() const { return shape_.in_channels * layout_.input.dense_size; }
  std::size_t out_stride() const { return shape_.out_channels * layout_.output.dense_size; }

  std::size_t first_image(std::size_t block) const { return block * layout_.images_per_block; }
  std::size_t num_images(std::size_t block) const {
    return std::min(layout_.images_per_block, shape_.num_images - first_image(block));
  }
  std::size_t start_of(std::size_t group) const {
    return channels_of(group).first * layout_.input.padded_size;
  }
  Range channels_of(std::size_t group) const {
    return {group * shape_.channels_per_group(), (group + 1) * shape_.channels_per_group()};
  }
  Range rows_of(std::size_t group) const {
    return {group * shape_.rows_per_group(), (group + 1) * shape_.rows_per_group()};
  }

  PaddedCopies<Value, Number> copies_of(const PaddedImage& image, std::size_t image_stride) const {
    return {transpose_, image, layout_.images_per_block, image_stride};
  }

  Scratch<Number> padded_inputs(const Value* input, Range blocks) {
    return padded(layout_.input, shape_.in_channels, input, blocks);
  }
  Scratch<Number> padded_gradients(const Value* out_gradient, Range blocks) {
    return padded(layout_.output, shape_.out_channels, out_gradient, blocks);
  }

  Scratch<Number> padded(const PaddedImage& image, std::size_t num_channels, const Value* dense,
                         Range blocks) {
    const std::size_t stride = num_channels * image.dense_size;
    auto all = scratch<Number>(size_of(blocks) * num_channels * image.padded_size);
    for_each_part(blocks, num_channels, [&](std::size_t block, Range channels) {
      copies_of(image, stride)
          .pad(dense + first_image(block) * stride + channels.first * image.dense_size,
               num_images(block), size_of(channels),
               all.get() +
                   ((block - blocks.first) * num_channels + channels.first) * image.padded_size);
    });
    return all;
  }

  // Calls body(blocks) for blocks that are worked on together, given the numbers that one takes.
  template <typename Body>
  void for_each_group(std::size_t block_size, const Body& body) {
    const std::size_t num = std::max<std::size_t>(kScratchSize / (block_size * sizeof(Number)), 1);
    for (std::size_t first = 0; first < layout_.num_blocks; first += num) {
      body(Range{first, std::min(first + num, layout_.num_blocks)});
    }
  }

  // Returns into how many parts each of so many blocks is cut.
  std::size_t num_chunks(std::size_t num_blocks) const {
    return num_threads_ == 1 ? 1 : ceil_div(kTasksPerThread * num_threads_, num_blocks);
  }

  // Calls body(block, rows) in threads.
  template <typename Body>
  void for_each_rows(Range blocks, const Body& body) {
    const std::vector<Range> chunks =
        row_parts(weight_.matrix, shape_.out_channels, num_chunks(size_of(blocks)));
    for_each_task(num_threads_, size_of(blocks) * chunks.size(), [&](std::size_t task) {
      body(blocks.first + task / chunks.size(), chunks[task % chunks.size()]);
    });
  }

  // Calls body(block, part) in threads for equal parts of so many things in each block.
  template <typename Body>
  void for_each_part(Range blocks, std::size_t num, const Body& body) {
    const std::size_t num_parts = std::min(num_chunks(size_of(blocks)), num);
    for_each_task(num_threads_, size_of(blocks) * num_parts, [&](std::size_t task) {
      const std::size_t part = task % num_parts;
      body(blocks.first + task / num_parts,
           Range{num * part / num_parts, num * (part + 1) / num_parts});
    });
  }

  // Calls body(group, rows) for the part of some rows in each group of a convolution.
  template <typename Body>
  void for_each_conv_group(Range rows, const Body& body) const {
    const std::size_t per_group = shape_.rows_per_group();
    for (std::size_t row = rows.first; row < rows.last;) {
      const std::size_t group = row / per_group;
      const std::size_t last = std::min((group + 1) * per_group, rows.last);
      body(group, Range{row, last});
      row = last;
    }
  }

  const SparseLoops& loops_;
  TransposeFunction transpose_;
  LayerShape shape_;
  SparseWeight weight_;
  PaddedLayout layout_;
  unsigned num_threads_;
};

// Calls body(value) with a value of a type.
template <typename Body>
void with_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat64:
      return body(double{});
    case DType::kFloat32:
      return body(float{});
    case DType::kBFloat16:
      return body(BFloat16Number{});
    case DType::kFloat16:
      break;
  }
  throw std::invalid_argument("dtype must be float64, float32 or bfloat16.");
}

}  // namespace

void product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
             const void* input, const void* bias, void* output, unsigned num_threads) {
  with_type(weight.dtype, [&](auto value) {
    using Value = decltype(value);
    Product<Value>(loops, shape, weight, num_threads)
        .apply(static_cast<const Value*>(input), static_cast<const Value*>(bias),
               static_cast<Value*>(output));
  });
}

void transposed_product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
                        const void* out_gradient, void* in_gradient, unsigned num_threads) {
  with_type(weight.dtype, [&](auto value) {
    using Value = decltype(value);
    Product<Value>(loops, shape, weight, num_threads)
        .apply_transposed(static_cast<const Value*>(out_gradient),
                          static_cast<Value*>(in_gradient));
  });
}

void sampled_product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
                     const void* out_gradient, const void* input, void* weight_gradient,
                     unsigned num_threads) {
  with_type(weight.dtype, [&](auto value) {
    using Value = decltype(value);
    Product<Value>(loops, shape, weight, num_threads)
        .apply_sampled(static_cast<const Value*>(out_gradient), static_cast<const Value*>(input),
                       static_cast<Value*>(weight_gradient));
  });
}

}  // namespace phew
