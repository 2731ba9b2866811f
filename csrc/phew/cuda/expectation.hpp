// The exact flow and the visit rates, computed on a device (see expectation/).
#pragma once

#include <cstdint>
#include <vector>

#include "phew/cuda/device_graph.hpp"
#include "phew/cuda/measured_links.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/expectation/visit_rates.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/options.hpp"
#include "phew/weights/link_buffers.hpp"

namespace phew::cuda {

Flow compute_flow(const MeasuredLinks& measured, const DirectedGraph& directed,
                  const DeviceGraph& on_device, const Load& load);

std::vector<RateHistogram> count_rates(const MeasuredLinks& measured,
                                       const std::vector<std::uint32_t>& links, const Flow& forward,
                                       const Flow& backward, Granularity granularity, double share,
                                       const Load& load);

}  // namespace phew::cuda
