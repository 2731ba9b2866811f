// Makes fixed small runs of the engine, whose instructions .ci/count_instructions.py counts.
//
//   phew_instructions start|measure|tables|hops|all
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <vector>

#include "phew/arithmetic/philox.hpp"
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

struct Parameters {
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<std::uint8_t>> marks;

  Parameters() {
    for (std::uint32_t i = 0; i + 1 < kNumUnits.size(); ++i) {
      std::vector<float>& link = weights.emplace_back(9U * kNumUnits[i] * kNumUnits[i + 1]);
      for (std::uint32_t j = 0; j < link.size(); ++j) {
        const phew::PhiloxCounter random = phew::philox4x32({{j, 0, 0, 0}}, {{i, 0}});
        link[j] = static_cast<float>(random.words[0]) * 0x1p-31F - 1;
      }
      marks.emplace_back(link.size());
    }
  }

  phew::LinkBuffers operator()(std::uint32_t link) {
    return {weights[link].data(), phew::DType::kFloat32, marks[link].data()};
  }
};

// Makes the run of this name, on one thread.
void run(std::string_view name, Parameters& parameters) {
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
    std::fprintf(stderr, "phew_instructions start|measure|tables|hops|all\n");
    return EXIT_FAILURE;
  }
  Parameters parameters;
  run(argv[1], parameters);
  return EXIT_SUCCESS;
}
