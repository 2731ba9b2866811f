// Products with the sparse weight of a layer: of the layer itself, and those of its derivatives.
//
// Each gives the same bits for any number of threads. Where a number is infinite or NaN, other
// results may be NaN than those of a dense product: padding is multiplied by it, pruned weights are
// not. Numbers are in the order of torch's memory:
// images, channels, pixels.
#pragma once

#include <cstdint>

#include "phew/arithmetic/mass.hpp"
#include "phew/loops/loops.hpp"
#include "phew/sparse/layer_shape.hpp"

namespace phew {

// The weight of a layer: a matrix with a row for each output channel.
struct SparseWeight {
  // The type of all numbers of a product: float64, float32 or bfloat16, which is added as float32.
  DType dtype;
  SparseMatrix matrix;
  // The mask's bits, row after row: bit 3 of byte 2 is that of number 19.
  const std::uint8_t* bits;
};

// Applies the layer. The bias may be null.
void product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
             const void* input, const void* bias, void* output, unsigned num_threads);

// Computes the gradient of the input from that of the output.
void transposed_product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
                        const void* out_gradient, void* in_gradient, unsigned num_threads);

// Computes the gradient of the kept weights, whose values it does not read.
void sampled_product(const Loops& loops, const LayerShape& shape, const SparseWeight& weight,
                     const void* out_gradient, const void* input, void* weight_gradient,
                     unsigned num_threads);

}  // namespace phew
