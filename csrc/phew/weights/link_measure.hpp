// The measures of a link's weights that walks need: their range, and the mass of each unit's edges.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "phew/arithmetic/extremes.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/graph/graph.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/masses.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// The smallest and largest nonzero magnitude of a link, both 0 if it has none, and its number of
// zeros.
struct MagnitudeRange {
  double smallest = 0;
  double largest = 0;
  bool is_finite = true;
  std::uint64_t num_zero = 0;
};

// Returns the range of weights whose bits have these extremes.
MagnitudeRange make_range(const Extremes& extremes, DType dtype);

MagnitudeRange measure_magnitudes(Workers& workers, const WeightRows& rows, DType dtype);

// One mass per unit.
using UnitMasses = std::vector<std::uint64_t>;

// The mass of each source's edges to live targets, and of each target's edges to live sources, in
// the link's scale. The masses of dead units are not meaningful.
struct EdgeTotals {
  UnitMasses sources;
  UnitMasses targets;
};

EdgeTotals sum_edges(Workers& workers, const WeightRows& rows, const Flags& live_sources,
                     const Flags& live_targets, const MassConverter& convert);

struct LinkMeasure {
  MagnitudeRange range;
  MassScale scale;
  EdgeTotals totals;
};

// Thrown where the edges of a unit have another mass than was measured.
struct WeightsChanged : std::runtime_error {
  std::uint32_t link;

  explicit WeightsChanged(std::uint32_t index)
      : std::runtime_error("the weights of link " + std::to_string(index) +
                           " have changed since they were measured"),
        link(index) {}
};

}  // namespace phew
