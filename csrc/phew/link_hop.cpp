#include "phew/link_hop.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "phew/channel_masses.hpp"
#include "phew/hop.hpp"

namespace phew {
namespace {

constexpr std::size_t kWalkersPerStep = 128;

// Walkers that stand on at most kUnitsPerBlock units.
struct Block {
  std::size_t begin;
  std::size_t end;
};

// Cuts the walkers into blocks that keep all threads busy: of whole units, but for units with so
// many walkers that they are worth more than one thread.
std::vector<Block> cut_blocks(const std::vector<std::uint32_t>& unit_begin, unsigned num_threads) {
  constexpr std::size_t kFewWalkers = 1024;
  const std::size_t num_walkers = unit_begin.back() - unit_begin.front();
  const std::size_t most_walkers =
      std::max(kFewWalkers, num_walkers / (std::size_t{4} * num_threads));
  std::vector<Block> blocks;
  Block block{0, 0};
  std::size_t num_units = 0;
  const auto close = [&](std::size_t end) {
    if (end > block.begin) blocks.push_back({block.begin, end});
    block.begin = end;
    num_units = 0;
  };
  for (std::size_t unit = 0; unit + 1 < unit_begin.size(); ++unit) {
    const std::size_t begin = unit_begin[unit] - unit_begin.front();
    const std::size_t end = unit_begin[unit + 1] - unit_begin.front();
    if (begin == end) continue;
    if (num_units == kUnitsPerBlock || end - block.begin > most_walkers) close(begin);
    ++num_units;
    while (end - block.begin > most_walkers) {
      close(block.begin + most_walkers);
      num_units = 1;
    }
  }
  close(num_walkers);
  return blocks;
}

// The hops of one block of walkers.
template <typename MassOf>
class BlockHop {
 public:
  using Bits = typename MassOf::Bits;

  BlockHop(const WeightedHop& hop, const MassOf& mass_of, ChannelMasses& masses, Visits& new_visits)
      : hop_(hop),
        mass_of_(mass_of),
        weights_(static_cast<const Bits*>(hop.buffers.weights)),
        masses_(masses),
        new_visits_(new_visits) {}

  void run(const Walker* from, Walker* to, std::size_t num_walkers) {
    std::array<std::uint32_t, kUnitsPerBlock> units;
    std::array<std::size_t, kUnitsPerBlock + 1> unit_begin;
    std::size_t num_units = 0;
    for (std::size_t i = 0; i < num_walkers; ++i) {
      if (num_units > 0 && units[num_units - 1] == from[i].unit) continue;
      units[num_units] = from[i].unit;
      unit_begin[num_units++] = i;
    }
    unit_begin[num_units] = num_walkers;
    masses_.build(mass_of_, weights_, hop_.edges, units.data(), num_units);
    for (std::size_t row = 0; row < num_units; ++row) {
      const std::uint32_t last = hop_.edges.far_per_group - 1;
      const bool all_zero = masses_.row(row)[last] == 0;
      if (all_zero) masses_.set_equal(row, hop_.edges, units[row]);
      for (std::size_t i = unit_begin[row]; i < unit_begin[row + 1]; i += kWalkersPerStep) {
        const std::size_t num = std::min(kWalkersPerStep, unit_begin[row + 1] - i);
        choose_channels(units[row], masses_.row(row), from + i, to + i, num);
        if (hop_.buffers.visits == nullptr) continue;
        if (hop_.granularity == Granularity::kWeight) choose_positions(all_zero, num);
        record(to + i, num);
      }
    }
  }

 private:
  void choose_channels(std::uint32_t unit, const std::uint64_t* cumulative, const Walker* from,
                       Walker* to, std::size_t num_walkers) {
    const EdgeView& edges = hop_.edges;
    const std::uint32_t first_far = edges.first_far(unit);
    const std::int64_t first_element = edges.first_element(unit);
    const std::uint64_t total = cumulative[edges.far_per_group - 1];
    for (std::size_t i = 0; i < num_walkers; ++i) {
      const std::uint64_t value =
          draw(hop_.batch.key, hop_.batch.walk(from[i].number), hop_.link, Purpose::kEdge, total);
      const std::uint32_t channel = first_above(cumulative, edges.far_per_group, value);
      draws_[i] = value - (channel > 0 ? cumulative[channel - 1] : 0);
      elements_[i] = first_element + channel * edges.far_stride;
      to[i] = {from[i].number, first_far + channel};
    }
  }

  void choose_positions(bool all_zero, std::size_t num_walkers) {
    const std::int64_t stride = hop_.edges.position_stride;
    for (std::size_t i = 0; i < num_walkers; ++i) {
      const std::uint64_t position = all_zero
                                         ? draws_[i]
                                         : find_position(mass_of_, weights_ + elements_[i], stride,
                                                         hop_.edges.num_positions, draws_[i]);
      elements_[i] += static_cast<std::int64_t>(position) * stride;
    }
  }

  void record(const Walker* walkers, std::size_t num_walkers) const {
    switch (hop_.recording) {
      case Recording::kMark:
        record_with(MarkVisits{static_cast<std::uint8_t*>(hop_.buffers.visits)}, walkers,
                    num_walkers);
        break;
      case Recording::kNew:
        record_with(ListNewVisits{static_cast<const std::uint8_t*>(hop_.buffers.visits), hop_.link,
                                  &new_visits_},
                    walkers, num_walkers);
        break;
      case Recording::kCount:
        record_with(CountVisits{static_cast<std::uint32_t*>(hop_.buffers.visits)}, walkers,
                    num_walkers);
        break;
    }
  }

  template <typename Recorder>
  void record_with(const Recorder& recorder, const Walker* walkers, std::size_t num_walkers) const {
    const bool whole_kernel = hop_.granularity == Granularity::kKernel;
    const std::uint32_t num_positions = whole_kernel ? hop_.edges.num_positions : 1;
    for (std::size_t i = 0; i < num_walkers; ++i) {
      const std::uint64_t walk = hop_.batch.walk(walkers[i].number);
      for (std::uint32_t k = 0; k < num_positions; ++k) {
        recorder(walk, elements_[i] + k * hop_.edges.position_stride);
      }
    }
  }

  const WeightedHop& hop_;
  const MassOf& mass_of_;
  const Bits* weights_;
  ChannelMasses& masses_;
  Visits& new_visits_;
  // Of each walker of a step: what remains of its draw, first for the channel, and the element that
  // it has come to, first at position 0 of the kernel.
  std::array<std::uint64_t, kWalkersPerStep> draws_;
  std::array<std::int64_t, kWalkersPerStep> elements_;
};

}  // namespace

void hop_weighted(Workers& workers, const WeightedHop& hop,
                  const std::vector<std::uint32_t>& unit_begin, const Walker* from, Walker* to,
                  std::vector<Visits>& new_visits) {
  const std::vector<Block> blocks = cut_blocks(unit_begin, workers.size());
  auto masses = ChannelMasses::for_threads(workers.size(), hop.edges.far_per_group);
  with_mass(hop.buffers.dtype, hop.power, hop.scale, [&](const auto& mass_of) {
    workers.for_each(blocks.size(), [&](unsigned thread, std::size_t i) {
      const auto [begin, end] = blocks[i];
      BlockHop(hop, mass_of, masses[thread], new_visits[thread])
          .run(from + begin, to + begin, end - begin);
    });
  });
}

void hop_wiring(Workers& workers, const Batch& batch, std::uint32_t link, const WiringView& wiring,
                std::size_t num_walkers, const Walker* from, Walker* to) {
  constexpr std::size_t kWalkersPerTask = 4096;
  workers.for_each(
      (num_walkers + kWalkersPerTask - 1) / kWalkersPerTask, [&](unsigned, std::size_t task) {
        const std::size_t end = std::min((task + 1) * kWalkersPerTask, num_walkers);
        for (std::size_t i = task * kWalkersPerTask; i < end; ++i) {
          const std::uint32_t* begin = wiring.begin + wiring.near_groups[from[i].unit];
          const std::uint32_t num_members = begin[1] - begin[0];
          const std::uint64_t member =
              num_members == 1
                  ? 0
                  : draw(batch.key, batch.walk(from[i].number), link, Purpose::kEdge, num_members);
          to[i] = {from[i].number, wiring.members[begin[0] + member]};
        }
      });
}

}  // namespace phew
