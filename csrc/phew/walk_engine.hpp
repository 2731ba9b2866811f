// The walk engine: the walks of one graph under one seed and one set of options.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/expectation/flow.hpp"
#include "phew/expectation/visit_rates.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/options.hpp"
#include "phew/threads/workers.hpp"
#include "phew/walks/batches.hpp"
#include "phew/walks/recording.hpp"
#include "phew/walks/team.hpp"
#include "phew/walks/walkers.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew {

// Walks are a pure function of graph, weights, seed and options. All walkers of a batch move
// together, one link at a time, so that only the weights of one link are needed at a time.
class WalkEngine {
 public:
  WalkEngine(Graph graph, const Options& options);
  // The directed graphs refer to the graph's memory, which a move takes along and a copy would not.
  WalkEngine(WalkEngine&&) = default;
  WalkEngine& operator=(WalkEngine&&) = default;
  WalkEngine(const WalkEngine&) = delete;
  WalkEngine& operator=(const WalkEngine&) = delete;
  ~WalkEngine() = default;

  // Measures each link's weights and sets the fork masses. It must be called before the functions
  // below, and again when the weights have changed. They need all weights to be finite. If it
  // throws, the engine must not be used before it is measured again.
  const std::vector<LinkMeasure>& measure(const Load& load, unsigned num_threads);

  Flow flow(Direction direction, const Load& load, unsigned num_threads) const;

  // Makes a histogram of each of these links from a share of its weights (see visit_rates.hpp).
  std::vector<RateHistogram> count_rates(const std::vector<std::uint32_t>& links,
                                         const Flow& forward, const Flow& backward, double share,
                                         const Load& load, unsigned num_threads) const;

  // Walks and records the visits in the buffers that `load` returns, once for each weighted link,
  // direction and batch. Returns the listed visits in any order. There may be several to one
  // weight, also to a weight that this call marks.
  Visits walk(WalkRange range, Recording recording, const Load& load, unsigned num_threads,
              std::uint32_t batch_size) const;

 private:
  // The arguments of `walk` that its batches have in common.
  struct WalkCall {
    Recording recording;
    std::uint64_t first_listed;
    const Load& load;
  };

  MeasuredGraph measured() const { return {graph_, measures_, options_.power}; }
  void walk_batch(Team& team, const DirectedGraph& directed, const Batch& batch,
                  const WalkCall& call) const;
  void hop(Team& team, const DirectedLink& link, const Batch& batch, const WalkCall& call,
           Buckets walkers, Buckets& arrived) const;

  Graph graph_;
  Options options_;
  DirectedGraph forward_;
  DirectedGraph backward_;
  std::vector<LinkMeasure> measures_;
};

}  // namespace phew
