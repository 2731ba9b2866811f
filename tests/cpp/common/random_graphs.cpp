#include "common/random_graphs.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>
#include <variant>

#include "common/walk_graphs.hpp"
#include "phew/arithmetic/philox.hpp"

namespace {

class Random {
 public:
  explicit Random(std::uint32_t seed) : seed_(seed) {}

  std::uint32_t bits() { return phew::philox4x32({{next_++, 0, 0, 0}}, {{seed_, 1}}).words[0]; }

  // Draws a number in [0, size).
  std::uint32_t below(std::uint32_t size) {
    return static_cast<std::uint32_t>(std::uint64_t{bits()} * size >> 32);
  }

  bool one_in(std::uint32_t n) { return below(n) == 0; }

  template <std::size_t N>
  std::uint32_t one_of(const std::array<std::uint32_t, N>& choices) {
    return choices[below(N)];
  }

 private:
  std::uint32_t seed_;
  std::uint32_t next_ = 0;
};

std::uint32_t draw_size(Random& random) {
  // Some sizes are more than a tile, and give more edges than a block has threads.
  return 1 + random.below(random.one_of<4>({4, 12, 40, 300}));
}

phew::WiringLink draw_wiring(Random& random, const std::vector<std::uint32_t>& sizes,
                             std::uint32_t source, std::uint32_t target) {
  const std::uint32_t num_groups = 1 + random.below(std::min(sizes[source], sizes[target]));
  const auto draw_groups = [&](std::uint32_t size) {
    std::vector<std::int32_t> groups(size);
    for (std::int32_t& group : groups) {
      group = random.one_in(10) ? -1 : static_cast<std::int32_t>(random.below(num_groups));
    }
    return groups;
  };
  return {source, target, draw_groups(sizes[source]), draw_groups(sizes[target]), random.one_in(5)};
}

phew::WeightedLink draw_weighted(Random& random, const std::vector<std::uint32_t>& sizes,
                                 std::uint32_t source, std::uint32_t target) {
  std::uint32_t num_groups = random.one_of<4>({1, 2, 3, 4});
  if (sizes[source] % num_groups != 0 || sizes[target] % num_groups != 0) num_groups = 1;
  phew::WeightedLink link{};
  link.source = source;
  link.target = target;
  link.num_groups = num_groups;
  link.targets_per_group = sizes[target] / num_groups;
  link.sources_per_group = sizes[source] / num_groups;
  link.num_positions = random.one_of<5>({1, 1, 2, 3, 9});
  const std::int64_t targets = link.targets_per_group;
  const std::int64_t sources = link.sources_per_group;
  const std::int64_t positions = link.num_positions;
  const std::int64_t per_group = targets * sources * positions;
  const std::array<std::array<std::int64_t, 4>, 3> layouts{{
      {per_group, sources * positions, positions, 1},
      {per_group, positions, targets * positions, 1},
      {per_group, 1, targets, targets * sources},
  }};
  link.strides = layouts[random.below(3)];
  link.offset = random.below(5);
  link.shortcut = random.one_in(5);
  return link;
}

bool is_joined(const phew::WeightedLink& link, std::size_t source, std::size_t target) {
  return source / link.sources_per_group == target / link.targets_per_group;
}

bool is_joined(const phew::WiringLink& link, std::size_t source, std::size_t target) {
  return link.source_groups[source] == link.target_groups[target] &&
         link.source_groups[source] >= 0;
}

// Flags the units that walks of a direction can pass.
std::vector<phew::Flags> find_reached(const phew::Graph& graph,
                                      const std::vector<std::uint32_t>& sizes, bool backward) {
  std::vector<phew::Flags> reached;
  reached.reserve(sizes.size());
  for (const std::uint32_t size : sizes) reached.emplace_back(size);
  for (const std::uint32_t space : backward ? graph.exits : graph.entries) {
    std::fill(reached[space].begin(), reached[space].end(), std::uint8_t{1});
  }
  const auto num_spaces = static_cast<std::uint32_t>(sizes.size());
  for (std::uint32_t i = 0; i < num_spaces; ++i) {
    const std::uint32_t space = backward ? num_spaces - 1 - i : i;
    for (const phew::Link& any_link : graph.links) {
      std::visit(
          [&](const auto& link) {
            if ((backward ? link.target : link.source) != space) return;
            for (std::size_t source = 0; source < sizes[link.source]; ++source) {
              for (std::size_t target = 0; target < sizes[link.target]; ++target) {
                if (!is_joined(link, source, target)) continue;
                auto& near = backward ? reached[link.target][target] : reached[link.source][source];
                auto& far = backward ? reached[link.source][source] : reached[link.target][target];
                if (near) far = 1;
              }
            }
          },
          any_link);
    }
  }
  return reached;
}

phew::Graph draw_graph(Random& random) {
  phew::Graph graph;
  const std::uint32_t num_spaces = 3 + random.below(5);
  std::vector<std::uint32_t> sizes(num_spaces);
  for (std::uint32_t& size : sizes) size = draw_size(random);
  const auto add_link = [&](std::uint32_t source, std::uint32_t target) {
    if (random.one_in(3)) {
      graph.links.emplace_back(draw_wiring(random, sizes, source, target));
    } else {
      graph.links.emplace_back(draw_weighted(random, sizes, source, target));
    }
  };
  for (std::uint32_t target = 1; target < num_spaces; ++target) {
    add_link(random.below(target), target);
    if (random.one_in(2)) add_link(random.below(target), target);
  }
  graph.entries = {0};
  graph.exits = {num_spaces - 1};
  if (random.one_in(3)) graph.entries.push_back(1);
  if (random.one_in(3)) graph.exits.insert(graph.exits.begin(), num_spaces - 2);
  graph.live = find_reached(graph, sizes, false);
  const auto from_exits = find_reached(graph, sizes, true);
  for (std::size_t space = 0; space < sizes.size(); ++space) {
    for (std::size_t unit = 0; unit < sizes[space]; ++unit) {
      graph.live[space][unit] &= from_exits[space][unit];
    }
  }
  return graph;
}

bool has_path(const phew::Graph& graph) {
  return std::any_of(graph.entries.begin(), graph.entries.end(), [&](std::uint32_t space) {
    const phew::Flags& live = graph.live[space];
    return std::find(live.begin(), live.end(), 1) != live.end();
  });
}

// Draws the bits of a finite weight, which may be zero.
std::uint64_t draw_weight(Random& random, phew::DType dtype, bool all_zero) {
  const std::uint32_t sign = random.one_in(2) ? 0x8000 : 0;
  if (all_zero || random.one_in(8)) return 0;
  const float value = static_cast<float>(random.bits()) * 0x1p-31F - 1;
  std::uint32_t float_bits = 0;
  std::memcpy(&float_bits, &value, sizeof value);
  switch (dtype) {
    case phew::DType::kFloat64: {
      const double double_value = value;
      std::uint64_t double_bits = 0;
      std::memcpy(&double_bits, &double_value, sizeof double_value);
      return double_bits;
    }
    case phew::DType::kFloat32:
      return float_bits;
    case phew::DType::kBFloat16:
      return float_bits >> 16;
    default:
      return sign | random.below(0x4000);
  }
}

// Returns the number of elements that a link views.
std::size_t num_elements(const phew::WeightedLink& link) {
  return static_cast<std::size_t>(link.offset) + std::size_t{link.num_groups} *
                                                     link.targets_per_group *
                                                     link.sources_per_group * link.num_positions;
}

// Takes edges at random out of a link: gives them weights of -0.
void take_edges_out(Random& random, phew::Graph& graph, std::size_t link, phew::DType dtype,
                    std::vector<std::uint64_t>& bits) {
  const std::size_t size = phew::size_of(dtype);
  const std::uint64_t sign = std::uint64_t{1} << (8 * size - 1);
  auto* weights = reinterpret_cast<char*>(bits.data());
  const std::uint32_t one_in = random.one_of<4>({1, 2, 3, 10});
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (random.one_in(one_in)) std::memcpy(weights + i * size, &sign, size);
  }
  set_degrees(graph, link, [&](std::size_t i) {
    std::uint64_t weight = 0;
    std::memcpy(&weight, weights + i * size, size);
    return weight == sign;
  });
}

}  // namespace

RandomGraph::RandomGraph(std::uint32_t seed) {
  Random random(seed);
  do {
    graph = draw_graph(random);
  } while (!has_path(graph));
  for (const phew::Link& link : graph.links) {
    const auto* weighted = std::get_if<phew::WeightedLink>(&link);
    const std::size_t size = weighted == nullptr ? 0 : num_elements(*weighted);
    const auto dtype = static_cast<phew::DType>(random.below(4));
    const std::size_t size_of_weight = phew::size_of(dtype);
    const bool all_zero = random.one_in(20);
    std::vector<std::uint64_t>& weights = bits.emplace_back(size);
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t weight = draw_weight(random, dtype, all_zero);
      // The first bytes are the lowest, because all machines here are little-endian.
      std::memcpy(reinterpret_cast<char*>(weights.data()) + i * size_of_weight, &weight,
                  size_of_weight);
    }
    dtypes.push_back(dtype);
    marks.emplace_back(size);
    counts.emplace_back(size);
    has_absent.push_back(size > 0 && random.one_in(3));
    if (has_absent.back()) take_edges_out(random, graph, bits.size() - 1, dtype, weights);
  }
}

phew::Load RandomGraph::loader(phew::Recording recording) {
  return [this, recording](std::uint32_t link) {
    void* visits = recording == phew::Recording::kCount ? static_cast<void*>(counts[link].data())
                                                        : marks[link].data();
    return phew::LinkBuffers{bits[link].data(), dtypes[link], visits, link * kNumbersPerLink,
                             has_absent[link]};
  };
}
