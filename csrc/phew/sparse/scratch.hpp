// Memory for the moment of a product.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace phew {

// Registers that begin with a line of the processor's cache are read in one go.
constexpr std::align_val_t kLineSize{64};

struct DeleteAligned {
  void operator()(void* memory) const { ::operator delete[](memory, kLineSize); }
};

template <typename Number>
using Scratch = std::unique_ptr<Number[], DeleteAligned>;

// Returns memory without values.
template <typename Number>
Scratch<Number> scratch(std::size_t num) {
  return Scratch<Number>(new (kLineSize) Number[num]);
}

}  // namespace phew
