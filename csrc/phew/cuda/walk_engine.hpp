// The walk engine on a CUDA device. Its walks are those of phew::WalkEngine, bit for bit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "phew/cuda/device.hpp"
#include "phew/cuda/visit_list.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/expectation/visit_rates.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/options.hpp"
#include "phew/walks/batches.hpp"
#include "phew/walks/recording.hpp"
#include "phew/weights/link_buffers.hpp"
#include "phew/weights/link_measure.hpp"

namespace phew::cuda {

// Does what phew::WalkEngine does. All buffers are memory of the device.
class WalkEngine {
 public:
  WalkEngine(Graph graph, const Options& options, Device device);
  ~WalkEngine();
  WalkEngine(WalkEngine&&) noexcept;
  WalkEngine& operator=(WalkEngine&&) noexcept;
  WalkEngine(const WalkEngine&) = delete;
  WalkEngine& operator=(const WalkEngine&) = delete;

  const std::vector<LinkMeasure>& measure(const Load& load);

  Flow flow(Direction direction, const Load& load) const;

  std::vector<RateHistogram> count_rates(const std::vector<std::uint32_t>& links,
                                         const Flow& forward, const Flow& backward, double share,
                                         const Load& load) const;

  // Queues the walks and returns at once. Visits are listed in `list`. Where walkers find that the
  // weights of a link are not those that were measured, its index plus 1 is put at `changed_link`.
  void walk(WalkRange range, Recording recording, const Load& load, std::uint32_t batch_size,
            const VisitList& list, std::uint64_t* changed_link) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace phew::cuda
