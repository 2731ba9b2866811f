// Makes fixed small runs of the engine and of sparse products, whose instructions
// .ci/count_instructions.py counts.
//
//   phew_instructions start|measure|tables|hops|all|layers|product|transposed|sampled
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <vector>

#include "phew/arithmetic/philox.hpp"
#include "phew/loops/loops.hpp"
#include "phew/sparse/layer_shape.hpp"
#include "phew/sparse/products.hpp"
#include "phew/walk_engine.hpp"

namespace {

constexpr std::array<std::uint32_t, 5> kNumUnits = {3, 64, 128, 128, 10};

// Makes a chain of convolutions with 3x3 kernels.
phew::Graph make_graph() {
  phew::Graph graph;
  for (const std::uint32_t num_units : kNumUnits) graph.live.emplace_back(num_units, 1);
  for (std::uint32_t i = 0; i + 1 < kNumUnits.size(); ++i) {
    const std::uint32_t row = 9 * kNumUnits[i];
    graph.links.emplace_back(phew::WeightedLink{
        i, i + 1, 1, kNumUnits[i + 1], kNumUnits[i], 9, {0, row, 9, 1}, 0, false});
  }
  graph.entries = {0};
  graph.exits = {kNumUnits.size() - 1};
  return graph;
}

// Makes some numbers from -1 to 1.
std::vector<float> make_numbers(std::size_t num, phew::PhiloxKey key) {
  std::vector<float> numbers(num);
  for (std::uint32_t i = 0; i < num; ++i) {
    const phew::PhiloxCounter random = phew::philox4x32({{i, 0, 0, 0}}, key);
    numbers[i] = static_cast<float>(random.words[0]) * 0x1p-31F - 1;
  }
  return numbers;
}

struct Parameters {
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<std::uint8_t>> marks;

  Parameters() {
    for (std::uint32_t i = 0; i + 1 < kNumUnits.size(); ++i) {
      weights.push_back(make_numbers(std::size_t{9} * kNumUnits[i] * kNumUnits[i + 1], {{i, 0}}));
      marks.emplace_back(weights.back().size());
    }
  }

  phew::LinkBuffers operator()(std::uint32_t link) {
    return {weights[link].data(), phew::DType::kFloat32, marks[link].data()};
  }
};

// A layer that keeps a tenth of its weights.
struct Layer {
  phew::LayerShape shape;
  std::vector<float> values;
  std::vector<std::uint16_t> columns;
  std::vector<std::int64_t> row_starts{0};
  std::vector<std::uint8_t> bits;
  std::vector<float> input;
  std::vector<float> output;
  std::vector<float> bias;

  explicit Layer(const phew::LayerShape& its_shape)
      : shape(its_shape), bits((shape.out_channels * shape.num_columns() + 7) / 8) {
    const std::size_t num_columns = shape.num_columns();
    const std::vector<float> all = make_numbers(shape.out_channels * num_columns, {{1, 1}});
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i] >= 0.8F) {
        values.push_back(all[i]);
        columns.push_back(static_cast<std::uint16_t>(i % num_columns));
        bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1U << i % 8);
      }
      if ((i + 1) % num_columns != 0) continue;
      row_starts.push_back(static_cast<std::int64_t>(values.size()));
    }
    input = make_numbers(shape.num_images * shape.in_channels * shape.in_size[1] * shape.in_size[2],
                         {{2, 1}});
    output = make_numbers(
        shape.num_images * shape.out_channels * shape.out_size(1) * shape.out_size(2), {{3, 1}});
    bias = make_numbers(shape.out_channels, {{4, 1}});
  }

  phew::SparseWeight weight() const {
    return {phew::DType::kFloat32,
            {values.data(), columns.data(), row_starts.data(), false},
            bits.data()};
  }
};

// Makes the run of this name for layers, on one thread.
void run_layers(std::string_view name) {
  phew::LayerShape convolution{2, 32, 32};
  convolution.in_size = {1, 14, 14};
  convolution.kernel_size = {1, 3, 3};
  convolution.padding = {0, 1, 1};
  const phew::LayerShape linear{16, 256, 256};
  const phew::Loops& loops = phew::loops();
  for (const phew::LayerShape& shape : {convolution, linear}) {
    Layer layer(shape);
    if (name == "product") {
      phew::product(loops, shape, layer.weight(), layer.input.data(), layer.bias.data(),
                    layer.output.data(), 1);
    } else if (name == "transposed") {
      phew::transposed_product(loops, shape, layer.weight(), layer.output.data(),
                               layer.input.data(), 1);
    } else if (name == "sampled") {
      phew::sampled_product(loops, shape, layer.weight(), layer.output.data(), layer.input.data(),
                            layer.values.data(), 1);
    }
  }
}

// Makes the run of this name for the engine, on one thread.
void run_engine(std::string_view name, Parameters& parameters) {
  constexpr std::uint32_t kBatchSize = 1 << 21;
  constexpr std::uint64_t kFewWalks = 400;
  constexpr std::uint64_t kManyWalks = 100'000;
  const phew::Load load = [&](std::uint32_t link) { return parameters(link); };
  phew::WalkEngine engine(make_graph(), {});
  if (name == "start") return;
  engine.measure(load, 1);
  if (name == "tables") {
    engine.walk({0, kFewWalks}, phew::Recording::kMark, load, 1, kBatchSize);
  } else if (name == "hops") {
    engine.walk({0, kManyWalks}, phew::Recording::kMark, load, 1, kBatchSize);
  } else if (name == "all") {
    const phew::Flow forward = engine.flow(phew::Direction::kForward, load, 1);
    const phew::Flow backward = engine.flow(phew::Direction::kBackward, load, 1);
    std::vector<std::uint32_t> links(parameters.weights.size());
    std::iota(links.begin(), links.end(), 0U);
    engine.count_rates(links, forward, backward, 0.5, load, 1);
    engine.walk({0, kManyWalks / 10, kManyWalks / 11}, phew::Recording::kMark, load, 1, kBatchSize);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr,
                 "phew_instructions start|measure|tables|hops|all|layers|product|transposed|"
                 "sampled\n");
    return EXIT_FAILURE;
  }
  const std::string_view name = argv[1];
  if (name == "layers" || name == "product" || name == "transposed" || name == "sampled") {
    run_layers(name);
  } else {
    Parameters parameters;
    run_engine(name, parameters);
  }
  return EXIT_SUCCESS;
}
