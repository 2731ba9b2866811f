// A list of visits in the memory of the device.
#pragma once

#include <cstdint>

namespace phew::cuda {

// Visits beyond the capacity are counted, but not listed.
struct VisitList {
  std::uint64_t* walks;
  std::uint64_t* weights;
  std::uint64_t capacity;
  // The number of visits is added to this one.
  std::uint64_t* num_visits;
};

}  // namespace phew::cuda
