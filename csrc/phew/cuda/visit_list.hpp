// Where kernels list visits.
#pragma once

#include <cstdint>

namespace phew::cuda {

// Room in the memory of the device. Visits that there is no room for are counted only.
struct VisitList {
  std::uint64_t* walks;
  std::uint64_t* weights;
  std::uint64_t capacity;
  // Is added to.
  std::uint64_t* num_visits;
};

}  // namespace phew::cuda
