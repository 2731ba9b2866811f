// The memory of a link's weights and visits. The engine asks for one link at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "phew/arithmetic/mass.hpp"

namespace phew {

constexpr std::size_t size_of(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2;
}

// The contiguous storage of the parameter that a link views, and of its visits: one byte per weight
// to mark, or one uint32 per weight to count. If visits is null, the link is walked but its visits
// are not recorded.
struct LinkBuffers {
  const void* weights = nullptr;
  DType dtype = DType::kFloat32;
  void* visits = nullptr;
  // Listed visits number weights through all parameters: element e of this one is first_number + e.
  std::uint64_t first_number = 0;
  // Whether weights of -0 are absent edges (see mass.hpp).
  bool has_absent = false;

  const void* weight(std::int64_t element) const {
    return static_cast<const char*>(weights) + element * static_cast<std::int64_t>(size_of(dtype));
  }

  bool is_edge(std::int64_t element) const {
    if (!has_absent) return true;
    return with_format(dtype, [&](auto format) {
      using Bits = typename decltype(format)::Bits;
      return !is_absent(static_cast<const Bits*>(weights)[element]);
    });
  }
};

// Returns the buffers of the link with this index. They are valid until the next call.
using Load = std::function<LinkBuffers(std::uint32_t)>;

}  // namespace phew
