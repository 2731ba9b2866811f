// The range of a link's magnitudes, from a sweep of its weights: what scales its masses.
#pragma once

#include "phew/graph.hpp"
#include "phew/link_buffers.hpp"
#include "phew/mass.hpp"
#include "phew/parallel.hpp"

namespace phew {

// What nonzero magnitudes a link has; both 0 if it has none.
struct MagnitudeRange {
  double smallest;
  double largest;
  // Whether there is no infinity and no NaN; otherwise the range has no meaning.
  bool is_finite;
};

MagnitudeRange measure_magnitudes(Workers& workers, const WeightedLink& link,
                                  const LinkBuffers& buffers);

}  // namespace phew
