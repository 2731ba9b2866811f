// How the engine is given the weights of a link, one link at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "phew/arithmetic/mass.hpp"

namespace phew {

constexpr std::size_t size_of(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2;
}

// The contiguous storage of the parameter that a link views, and what is recorded of its visits:
// one byte a weight, or one uint32 to count. No visits: the link is walked but not recorded.
struct LinkBuffers {
  const void* weights = nullptr;
  DType dtype = DType::kFloat32;
  void* visits = nullptr;
  // What visits that are listed call element 0.
  std::uint64_t first_number = 0;

  const void* weight(std::int64_t element) const {
    return static_cast<const char*>(weights) + element * static_cast<std::int64_t>(size_of(dtype));
  }
};

// Gives the buffers of the link with this index, valid until the next call.
using Load = std::function<LinkBuffers(std::uint32_t)>;

}  // namespace phew
