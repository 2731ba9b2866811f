// How the engine is given the weights of a link, one link at a time.
#pragma once

#include <cstdint>
#include <functional>

#include "phew/mass.hpp"

namespace phew {

// The contiguous storage of the parameter that a link views, and what is recorded of its visits:
// one byte a weight, or one uint32 to count. No visits: the link is walked but not recorded.
struct LinkBuffers {
  const void* weights = nullptr;
  DType dtype = DType::kFloat32;
  void* visits = nullptr;
};

// Gives the buffers of the link with this index, valid until the next call.
using Load = std::function<LinkBuffers(std::uint32_t)>;

}  // namespace phew
