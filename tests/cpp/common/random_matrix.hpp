// A sparse matrix drawn at random, and numbers for products with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phew/arithmetic/bfloat16.hpp"
#include "phew/arithmetic/philox.hpp"
#include "phew/loops/sparse_loops.hpp"

class Random {
 public:
  explicit Random(std::uint32_t seed) : seed_(seed) {}

  std::uint32_t bits() { return phew::philox4x32({{next_++, 0, 0, 0}}, {{seed_, 5}}).words[0]; }

  // Draws a number in [0, size).
  std::size_t below(std::size_t size) {
    return static_cast<std::size_t>(std::uint64_t{bits()} * size >> 32);
  }

  // Draws a number in [0, 1).
  double fraction() { return bits() * 0x1p-32; }

 private:
  std::uint32_t seed_;
  std::uint32_t next_ = 0;
};

// The places of kept numbers. No buffer is larger than its contents.
struct RandomMatrix {
  std::size_t num_rows;
  std::size_t num_columns;
  // Whether each number is kept, row after row.
  std::vector<bool> kept;
  std::vector<std::uint8_t> bits;
  std::vector<std::int64_t> row_starts;
  std::vector<std::uint16_t> narrow_columns;
  std::vector<std::uint32_t> wide_columns;

  RandomMatrix(Random& random, std::size_t height, std::size_t width, double density);

  std::size_t num_kept() const { return wide_columns.size(); }
  phew::SparseMatrix view(const void* values, bool wide) const;
};

inline void assign(double number, double& to) { to = number; }
inline void assign(double number, float& to) { to = static_cast<float>(number); }
inline void assign(double number, phew::BFloat16Number& to) {
  to = phew::to_bfloat16(static_cast<float>(number));
}

inline double to_double(double number) { return number; }
inline double to_double(float number) { return number; }
inline double to_double(phew::BFloat16Number number) { return phew::to_float(number); }

// Draws whole numbers from -4 to 4: sums of their products are exact in any order.
template <typename Value>
std::vector<Value> whole_numbers(Random& random, std::size_t num) {
  std::vector<Value> numbers(num);
  for (Value& number : numbers) assign(static_cast<double>(random.below(9)) - 4, number);
  return numbers;
}

// Draws numbers from -1 to 1.
template <typename Value>
std::vector<Value> fractions(Random& random, std::size_t num) {
  std::vector<Value> numbers(num);
  for (Value& number : numbers) assign(2 * random.fraction() - 1, number);
  return numbers;
}
