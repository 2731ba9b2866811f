// Copies matrices as their transposes.
//
// Everything has internal linkage, because files that are compiled for several instruction sets
// include this (see loops.cpp).
#pragma once

#include <cstddef>

#include "phew/loops/registers.hpp"

namespace phew {
namespace {

template <typename Number>
void transpose(const void* from, std::size_t from_stride, std::size_t num_rows,
               std::size_t num_columns, void* to, std::size_t to_stride) {
  constexpr std::size_t kNum = kLanes<Number>;
  const auto* source = static_cast<const Number*>(from);
  auto* target = static_cast<Number*>(to);
  const auto copy_square = [=](std::size_t row, std::size_t column) __attribute__((always_inline)) {
    const std::size_t height = num_rows - row < kNum ? num_rows - row : kNum;
    const std::size_t width = num_columns - column < kNum ? num_columns - column : kNum;
    const Number* read = source + row * from_stride + column;
    Number* write = target + column * to_stride + row;
    if (height == kNum && width == kNum) {
      Register<Number> registers[kNum];
      for (std::size_t i = 0; i < kNum; ++i) registers[i] = load(read + i * from_stride);
      transpose_registers<kNum / 2, Number>(registers);
      for (std::size_t i = 0; i < kNum; ++i) store(registers[i], write + i * to_stride);
    } else {
      for (std::size_t i = 0; i < width; ++i) {
        for (std::size_t k = 0; k < height; ++k) {
          write[i * to_stride + k] = read[k * from_stride + i];
        }
      }
    }
  };
  // Squares that follow each other lie side by side in the memory with the larger stride, where
  // others are far: in pages that the processor has to look up.
  const bool by_rows = from_stride > to_stride;
  for (std::size_t i = 0; i < (by_rows ? num_rows : num_columns); i += kNum) {
    for (std::size_t k = 0; k < (by_rows ? num_columns : num_rows); k += kNum) {
      copy_square(by_rows ? i : k, by_rows ? k : i);
    }
  }
}

}  // namespace
}  // namespace phew
