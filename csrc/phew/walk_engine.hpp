// The walk engine: the walks of one graph under one seed and one set of options.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/directed_graph.hpp"
#include "phew/graph.hpp"
#include "phew/link_buffers.hpp"
#include "phew/link_hop.hpp"
#include "phew/mass.hpp"
#include "phew/parallel.hpp"
#include "phew/recording.hpp"
#include "phew/walkers.hpp"

namespace phew {

// How a walk chooses among the links of a unit.
enum class ForkRule : std::uint8_t {
  kUniform,
  // In proportion to the unit's mass in each link.
  kMass,
};

struct Options {
  std::uint64_t seed = 0;
  ForkRule fork = ForkRule::kUniform;
  Granularity granularity = Granularity::kWeight;
  // The bias of a walk is this power of the magnitude: 1, 0, 2 or -1.
  int power = 1;
};

// The walks first_walk, first_walk + 1, ...: even ones are forward, odd ones backward.
struct WalkRange {
  std::uint64_t first_walk;
  std::uint64_t num_walks;
};

// Walks are a pure function of graph, weights, seed and options. All walkers of a batch move
// together, one link at a time, so that the weights of one link are needed at a time.
class WalkEngine {
 public:
  WalkEngine(Graph graph, const Options& options);
  // The directed graphs refer to the graph's memory: a move takes that along, a copy would not.
  WalkEngine(WalkEngine&&) = default;
  WalkEngine& operator=(WalkEngine&&) = default;
  WalkEngine(const WalkEngine&) = delete;
  WalkEngine& operator=(const WalkEngine&) = delete;
  ~WalkEngine() = default;

  // Measures the scale of each link's weights and the fork masses. Returns one flag a link: whether
  // its weights are finite. To be called before walk, and again when the weights have changed.
  std::vector<bool> measure(const Load& load, unsigned num_threads);

  // Walks and records the visits in the buffers that `load` gives, once for each weighted link,
  // direction and batch. Returns the new visits if that is what is recorded: possibly several of
  // one weight, in any order. The measured weights must have been finite.
  Visits walk(WalkRange range, Recording recording, const Load& load, unsigned num_threads,
              std::uint32_t batch_size) const;

 private:
  void walk_batch(Workers& workers, const DirectedGraph& graph, const Batch& batch,
                  std::uint32_t num_walkers, Recording recording, const Load& load,
                  std::vector<Visits>& new_visits) const;

  Graph graph_;
  Options options_;
  DirectedGraph forward_;
  DirectedGraph backward_;
  std::vector<MassScale> scales_;
};

}  // namespace phew
