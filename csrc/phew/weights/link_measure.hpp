// What is measured of a link's weights before walks: their range, and the masses of its units.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/arithmetic/mass.hpp"
#include "phew/graph/graph.hpp"
#include "phew/loops/loops.hpp"
#include "phew/threads/workers.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew {

// Of the nonzero magnitudes of a link, both ends 0 if it has none; and how many others there are.
struct MagnitudeRange {
  double smallest = 0;
  double largest = 0;
  bool is_finite = true;
  std::uint64_t num_zero = 0;
};

// The range of weights whose bits have these extremes.
MagnitudeRange make_range(const Extremes& extremes, DType dtype);

MagnitudeRange measure_magnitudes(Workers& workers, const WeightRows& rows, DType dtype);

// One mass a unit.
using UnitMasses = std::vector<std::uint64_t>;

// The mass of the edges of each source to live targets, and of each target to live sources, in the
// link's scale. Those of dead units are not meaningful.
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

}  // namespace phew
