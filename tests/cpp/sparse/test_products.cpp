#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "common/random_matrix.hpp"
#include "phew/loops/loops.hpp"
#include "phew/sparse/layer_shape.hpp"
#include "phew/sparse/products.hpp"

namespace {

template <typename Value>
constexpr phew::DType kDType = std::is_same_v<Value, double>  ? phew::DType::kFloat64
                               : std::is_same_v<Value, float> ? phew::DType::kFloat32
                                                              : phew::DType::kBFloat16;

std::size_t in_area(const phew::LayerShape& shape) {
  return shape.in_size[0] * shape.in_size[1] * shape.in_size[2];
}

std::size_t out_area(const phew::LayerShape& shape) {
  return shape.out_size(0) * shape.out_size(1) * shape.out_size(2);
}

std::size_t num_inputs(const phew::LayerShape& shape) {
  return shape.num_images * shape.in_channels * in_area(shape);
}

std::size_t num_outputs(const phew::LayerShape& shape) {
  return shape.num_images * shape.out_channels * out_area(shape);
}

// Calls body(pixel of the output, pixel of the input) for those that a position of the kernel
// joins.
template <typename Body>
void for_each_pixel(const phew::LayerShape& shape, std::size_t position, const Body& body) {
  const phew::Sizes& kernel = shape.kernel_size;
  const phew::Sizes at{position / kernel[2] / kernel[1], position / kernel[2] % kernel[1],
                       position % kernel[2]};
  const phew::Sizes size{shape.out_size(0), shape.out_size(1), shape.out_size(2)};
  for (std::size_t out = 0; out < out_area(shape); ++out) {
    const phew::Sizes pixel{out / size[2] / size[1], out / size[2] % size[1], out % size[2]};
    std::size_t in = 0;
    bool is_inside = true;
    for (std::size_t dim = 0; dim < 3; ++dim) {
      const std::size_t padded = pixel[dim] * shape.stride[dim] + at[dim] * shape.dilation[dim];
      is_inside = is_inside && padded >= shape.padding[dim] &&
                  padded < shape.padding[dim] + shape.in_size[dim];
      in = in * shape.in_size[dim] + padded - shape.padding[dim];
    }
    if (is_inside) body(out, in);
  }
}

// Calls body(kept weight, output, input) for all that are multiplied.
template <typename Body>
void for_each_triple(const phew::LayerShape& shape, const RandomMatrix& matrix, const Body& body) {
  std::size_t j = 0;
  for (std::size_t i = 0; i < matrix.kept.size(); ++i) {
    if (!matrix.kept[i]) continue;
    const std::size_t row = i / matrix.num_columns;
    const std::size_t column = i % matrix.num_columns;
    const std::size_t group = row / (shape.out_channels / shape.groups);
    const std::size_t area = shape.kernel_size[0] * shape.kernel_size[1] * shape.kernel_size[2];
    const std::size_t channel = group * (shape.in_channels / shape.groups) + column / area;
    for_each_pixel(shape, column % area, [&](std::size_t out, std::size_t in) {
      for (std::size_t n = 0; n < shape.num_images; ++n) {
        body(j, (n * shape.out_channels + row) * out_area(shape) + out,
             (n * shape.in_channels + channel) * in_area(shape) + in);
      }
    });
    ++j;
  }
}

// A layer, and what products with its weight read. No buffer is larger than its contents.
template <typename Value>
struct Layer {
  phew::LayerShape shape;
  RandomMatrix matrix;
  bool has_wide_columns;
  std::vector<Value> values;
  std::vector<Value> input;
  std::vector<Value> bias;
  std::vector<Value> out_gradient;

  phew::SparseWeight weight(const std::vector<Value>& its_values) const {
    return {kDType<Value>, matrix.view(its_values.data(), has_wide_columns), matrix.bits.data()};
  }
};

// The results of a product, between numbers that it must not touch.
template <typename Value>
class Guarded {
 public:
  explicit Guarded(std::size_t num) : bytes_(num * sizeof(Value) + 2 * kGuard, kUntouched) {}

  Value* data() { return reinterpret_cast<Value*>(bytes_.data() + kGuard); }

  std::vector<Value> take() const {
    const auto is_untouched = [](std::uint8_t byte) { return byte == kUntouched; };
    REQUIRE(std::all_of(bytes_.begin(), bytes_.begin() + kGuard, is_untouched));
    REQUIRE(std::all_of(bytes_.end() - kGuard, bytes_.end(), is_untouched));
    std::vector<Value> values((bytes_.size() - 2 * kGuard) / sizeof(Value));
    if (!values.empty()) {
      std::memcpy(values.data(), bytes_.data() + kGuard, values.size() * sizeof(Value));
    }
    return values;
  }

 private:
  // No register is aligned to the first number, which lies behind this guard.
  static constexpr std::ptrdiff_t kGuard = 264;
  // Numbers of these bytes are NaN.
  static constexpr std::uint8_t kUntouched = 0xFF;

  std::vector<std::uint8_t> bytes_;
};

template <typename Value>
struct Results {
  std::vector<Value> output;
  std::vector<Value> in_gradient;
  std::vector<Value> weight_gradient;
};

template <typename Value>
Results<Value> multiply(const phew::Loops& loops, const Layer<Value>& layer, unsigned num_threads) {
  Guarded<Value> output(num_outputs(layer.shape));
  Guarded<Value> in_gradient(num_inputs(layer.shape));
  Guarded<Value> weight_gradient(layer.matrix.num_kept());
  phew::product(loops, layer.shape, layer.weight(layer.values), layer.input.data(),
                layer.bias.empty() ? nullptr : layer.bias.data(), output.data(), num_threads);
  // These two read no bits, and the second no values.
  phew::SparseWeight weight = layer.weight(layer.values);
  weight.bits = nullptr;
  phew::transposed_product(loops, layer.shape, weight, layer.out_gradient.data(),
                           in_gradient.data(), num_threads);
  weight.matrix.values = nullptr;
  phew::sampled_product(loops, layer.shape, weight, layer.out_gradient.data(), layer.input.data(),
                        weight_gradient.data(), num_threads);
  return {output.take(), in_gradient.take(), weight_gradient.take()};
}

template <typename Value>
Results<double> multiply_naively(const Layer<Value>& layer) {
  Results<double> results{std::vector<double>(num_outputs(layer.shape)),
                          std::vector<double>(num_inputs(layer.shape)),
                          std::vector<double>(layer.matrix.num_kept())};
  if (!layer.bias.empty()) {
    for (std::size_t i = 0; i < results.output.size(); ++i) {
      const std::size_t row = i / out_area(layer.shape) % layer.shape.out_channels;
      results.output[i] = to_double(layer.bias[row]);
    }
  }
  for_each_triple(layer.shape, layer.matrix, [&](std::size_t j, std::size_t out, std::size_t in) {
    const double gradient = to_double(layer.out_gradient[out]);
    results.output[out] += to_double(layer.values[j]) * to_double(layer.input[in]);
    results.in_gradient[in] += to_double(layer.values[j]) * gradient;
    results.weight_gradient[j] += to_double(layer.input[in]) * gradient;
  });
  return results;
}

// Checks that numbers are those of exact sums, rounded once.
template <typename Value>
void check_equal(const std::vector<Value>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    Value rounded;
    assign(expected[i], rounded);
    if (to_double(found[i]) == to_double(rounded)) continue;
    FAIL("number " << i << " is " << to_double(found[i]) << " instead of " << expected[i]);
  }
}

template <typename Value>
bool has_same_bits(const std::vector<Value>& left, const std::vector<Value>& right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size() * sizeof(Value)) == 0);
}

template <typename Value>
void check_layer(const phew::LayerShape& shape, double density, std::uint32_t seed) {
  CAPTURE(seed);
  CAPTURE(sizeof(Value));
  Random random(seed);
  Layer<Value> layer{shape,
                     RandomMatrix(random, shape.out_channels, shape.num_columns(), density),
                     seed % 2 == 0,
                     {},
                     {},
                     {},
                     {}};
  const std::size_t num_biases = seed % 3 == 0 ? 0 : shape.out_channels;

  // Sums of whole numbers show whether the right ones are added.
  layer.values = whole_numbers<Value>(random, layer.matrix.num_kept());
  layer.input = whole_numbers<Value>(random, num_inputs(shape));
  layer.bias = whole_numbers<Value>(random, num_biases);
  layer.out_gradient = whole_numbers<Value>(random, num_outputs(shape));
  const Results<double> expected = multiply_naively(layer);
  for (const phew::Loops* loops : phew::supported_loops()) {
    CAPTURE(loops->name);
    const Results<Value> found = multiply(*loops, layer, 1 + seed % 4);
    check_equal(found.output, expected.output);
    check_equal(found.in_gradient, expected.in_gradient);
    check_equal(found.weight_gradient, expected.weight_gradient);
  }

  // Sums of fractions show whether threads change the order of additions.
  layer.values = fractions<Value>(random, layer.matrix.num_kept());
  layer.input = fractions<Value>(random, num_inputs(shape));
  layer.bias = fractions<Value>(random, num_biases);
  layer.out_gradient = fractions<Value>(random, num_outputs(shape));
  constexpr unsigned kNumThreads[] = {2, 3, 7};
  const unsigned num_threads = kNumThreads[random.below(3)];
  CAPTURE(num_threads);
  for (const phew::Loops* loops : phew::supported_loops()) {
    CAPTURE(loops->name);
    const Results<Value> by_one = multiply(*loops, layer, 1);
    const Results<Value> by_several = multiply(*loops, layer, num_threads);
    REQUIRE(has_same_bits(by_several.output, by_one.output));
    REQUIRE(has_same_bits(by_several.in_gradient, by_one.in_gradient));
    REQUIRE(has_same_bits(by_several.weight_gradient, by_one.weight_gradient));
  }
}

constexpr double kDensities[] = {0, 0.02, 0.3, 1};

void check_all_types(const phew::LayerShape& shape, double density, std::uint32_t seed) {
  check_layer<double>(shape, density, seed);
  check_layer<float>(shape, density, seed);
  check_layer<phew::BFloat16Number>(shape, density, seed);
}

// Draws a layer with images of so many dimensions.
phew::LayerShape draw_shape(Random& random, std::size_t num_dims) {
  constexpr std::size_t kNumImages[] = {1, 1, 2, 3, 4, 5, 16, 17, 40, 129, 200};
  constexpr std::size_t kMostPixels[] = {1, 60, 14, 6};
  phew::LayerShape shape{};
  shape.num_images = kNumImages[random.below(11)];
  shape.groups = num_dims > 0 ? 1 + random.below(3) : 1;
  const std::size_t most_channels = num_dims == 0 ? 90 : shape.num_images > 20 ? 3 : 7;
  shape.in_channels = shape.groups * (1 + random.below(most_channels));
  shape.out_channels = shape.groups * (1 + random.below(most_channels));
  for (std::size_t dim = 0; dim < 3; ++dim) {
    const bool is_used = dim + num_dims >= 3;
    shape.kernel_size[dim] = is_used ? 1 + random.below(4) : 1;
    shape.stride[dim] = is_used ? 1 + random.below(3) : 1;
    shape.dilation[dim] = is_used ? 1 + random.below(2) : 1;
    shape.padding[dim] = is_used ? random.below(4) : 0;
    const std::size_t extent = shape.dilation[dim] * (shape.kernel_size[dim] - 1) + 1;
    const std::size_t padding = 2 * shape.padding[dim];
    const std::size_t fewest = extent > padding ? extent - padding : 1;
    shape.in_size[dim] = is_used ? fewest + random.below(kMostPixels[num_dims]) : 1;
  }
  return shape;
}

}  // namespace

TEST_CASE("products with layers drawn at random equal naive ones") {
  for (std::uint32_t seed = 0; seed < 64; ++seed) {
    Random random(seed + 1000);
    const phew::LayerShape shape = draw_shape(random, seed % 4);
    check_all_types(shape, kDensities[seed / 4 % 4], seed);
  }
}

TEST_CASE("products with few vectors equal naive ones, at any density and width") {
  std::uint32_t seed = 0;
  for (const std::size_t num_images : {1U, 2U, 3U, 4U}) {
    for (const std::size_t num_columns : {1U, 16U, 33U, 203U}) {
      for (const double density : kDensities) {
        check_all_types({num_images, num_columns, 11}, density, seed++);
      }
    }
  }
}

TEST_CASE("products with layers that take several blocks and tiles equal naive ones") {
  // Images have more pixels than a tile; padded ones take more memory than is padded at once.
  phew::LayerShape shape{20, 64, 40};
  shape.in_size = {1, 32, 32};
  check_all_types(shape, 0.02, 1);
  shape.kernel_size = {1, 3, 3};
  shape.padding = {0, 1, 1};
  shape.num_images = 7;
  check_all_types(shape, 0.004, 2);
  // Interleaved images fill several blocks, of which the last has images missing.
  shape = {200, 300, 20};
  check_all_types(shape, 0.3, 3);
  shape.in_size = {1, 2, 3};
  shape.kernel_size = {1, 2, 2};
  shape.padding = {0, 1, 0};
  check_all_types(shape, 0.02, 4);
}

TEST_CASE("products with matrices of more than 2^16 columns equal naive ones") {
  const phew::LayerShape shape{3, 70'000, 3};
  // Columns are wide for even numbers.
  check_all_types(shape, 0.02, 2);
  check_all_types(shape, 0.5, 4);
}

TEST_CASE(
    "products of kernels of one pixel that leave pixels out, or are padded, equal naive ones") {
  for (const std::size_t num_images : {1U, 3U}) {
    phew::LayerShape shape{num_images, 16, 8};
    shape.in_size = {1, 2, 2};
    shape.stride = {1, 2, 2};
    check_all_types(shape, 0.5, 5);
    shape.in_size = {1, 1, 1};
    shape.stride = {1, 3, 3};
    shape.padding = {0, 1, 1};
    check_all_types(shape, 0.5, 6);
  }
}

TEST_CASE("products with no images write nothing but zeros") {
  phew::LayerShape shape{0, 6, 4};
  check_all_types(shape, 0.3, 0);
  shape.in_size = {1, 5, 5};
  check_all_types(shape, 0.3, 2);
  shape.kernel_size = {1, 3, 3};
  check_all_types(shape, 0.3, 1);
}

TEST_CASE("products refuse float16") {
  Random random(0);
  const RandomMatrix matrix(random, 2, 3, 1);
  const std::vector<std::uint16_t> numbers(6);
  std::vector<std::uint16_t> results(6);
  const phew::SparseWeight weight{phew::DType::kFloat16, matrix.view(numbers.data(), true),
                                  matrix.bits.data()};
  const phew::LayerShape shape{1, 3, 2};
  const phew::Loops& loops = phew::loops();
  CHECK_THROWS_AS(phew::product(loops, shape, weight, numbers.data(), nullptr, results.data(), 1),
                  std::invalid_argument);
  CHECK_THROWS_AS(phew::transposed_product(loops, shape, weight, numbers.data(), results.data(), 1),
                  std::invalid_argument);
  CHECK_THROWS_AS(phew::sampled_product(loops, shape, weight, numbers.data(), numbers.data(),
                                        results.data(), 1),
                  std::invalid_argument);
}
