// Walkers hop over one link, in parallel.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/graph_view.hpp"
#include "phew/link_buffers.hpp"
#include "phew/mass.hpp"
#include "phew/parallel.hpp"
#include "phew/recording.hpp"
#include "phew/walkers.hpp"

namespace phew {

enum class Granularity : std::uint8_t {
  // A hop visits its weight.
  kWeight,
  // A hop visits the kernel that its weight is in.
  kKernel,
};

struct WeightedHop {
  Batch batch;
  std::uint32_t link;
  EdgeView edges;
  LinkBuffers buffers;
  MassScale scale;
  int power;
  Granularity granularity;
  Recording recording;
};

// Moves the walkers from `from` to `to`. Walkers on near unit u are those from unit_begin[u] to
// unit_begin[u + 1], counted from unit_begin[0]. New visits are appended to the thread's list.
void hop_weighted(Workers& workers, const WeightedHop& hop,
                  const std::vector<std::uint32_t>& unit_begin, const Walker* from, Walker* to,
                  std::vector<Visits>& new_visits);

void hop_wiring(Workers& workers, const Batch& batch, std::uint32_t link, const WiringView& wiring,
                std::size_t num_walkers, const Walker* from, Walker* to);

}  // namespace phew
