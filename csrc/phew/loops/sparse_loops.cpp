// This file is compiled once for each instruction set, with PHEW_LOOPS as its name. All other
// functions must have internal linkage or always be inlined, as in loops.cpp.
#include "phew/loops/sparse_loops.hpp"

#include <cstring>
#include <type_traits>
#include <utility>

#include "phew/arithmetic/bfloat16.hpp"
#include "phew/loops/registers.hpp"

namespace phew {
namespace {

// The type that values are added in.
template <typename Value>
struct SumOf {
  using Type = Value;
};
template <>
struct SumOf<BFloat16Number> {
  using Type = float;
};
template <typename Value>
using Sum = typename SumOf<Value>::Type;

// Calls body with a number from 1 to Most as a constant.
template <std::size_t Most, typename Body>
void with_constant(std::size_t number, const Body& body) {
  if constexpr (Most > 0) {
    if (number == Most) return body(std::integral_constant<std::size_t, Most>{});
    with_constant<Most - 1>(number, body);
  }
}

PHEW_INLINE double widened(double value) { return value; }
PHEW_INLINE float widened(float value) { return value; }
PHEW_INLINE float widened(BFloat16Number value) { return to_float(value); }

// Where register i of a tile begins.
template <typename Number, std::size_t NumRegisters>
PHEW_INLINE std::size_t start_of(std::size_t i, std::size_t last_start) {
  return i + 1 < NumRegisters ? i * kLanes<Number> : last_start;
}

// An addition takes several cycles, so small tiles have several sums of each number.
constexpr std::size_t num_sums(std::size_t num_registers) {
  return num_registers == 1 ? 4 : num_registers <= 3 ? 2 : 1;
}

template <typename Value, typename Column, std::size_t NumRegisters>
void multiply_tile(const SparseMatrix& matrix, Range rows, const Tile& tile, const void* sources,
                   const void* bias, void* results, std::size_t stride) {
  using Number = Sum<Value>;
  constexpr std::size_t kNumSums = num_sums(NumRegisters);
  const auto* values = static_cast<const Value*>(matrix.values);
  const auto* columns = static_cast<const Column*>(matrix.columns);
  const auto* source = static_cast<const Number*>(sources);
  const auto* biases = static_cast<const Value*>(bias);
  auto* result = static_cast<Number*>(results);
  const std::size_t last_start = tile.last_start;
  for (std::size_t row = rows.first; row < rows.last; ++row, result += stride) {
    Register<Number> sums[kNumSums][NumRegisters] = {};
    const std::int64_t end = matrix.row_starts[row + 1];
    std::int64_t j = matrix.row_starts[row];
    for (; j + static_cast<std::int64_t>(kNumSums) <= end; j += kNumSums) {
      for (std::size_t s = 0; s < kNumSums; ++s) {
        const Number value = widened(values[j + static_cast<std::int64_t>(s)]);
        const Number* numbers = source + tile.offsets[columns[j + static_cast<std::int64_t>(s)]];
        for (std::size_t i = 0; i < NumRegisters; ++i) {
          sums[s][i] += value * load(numbers + start_of<Number, NumRegisters>(i, last_start));
        }
      }
    }
    for (; j < end; ++j) {
      const Number value = widened(values[j]);
      const Number* numbers = source + tile.offsets[columns[j]];
      for (std::size_t i = 0; i < NumRegisters; ++i) {
        sums[0][i] += value * load(numbers + start_of<Number, NumRegisters>(i, last_start));
      }
    }
    const Number offset = biases == nullptr ? Number{} : widened(biases[row]);
    for (std::size_t i = 0; i < NumRegisters; ++i) {
      Register<Number> sum = sums[0][i] + offset;
      for (std::size_t s = 1; s < kNumSums; ++s) {
        sum += sums[s][i];  // NOLINT(clang-analyzer-security.ArrayBound)
      }
      store(sum, result + start_of<Number, NumRegisters>(i, last_start));
    }
  }
}

// Returns the first kept weight of a row whose column is not below a bound.
template <typename Column>
std::int64_t find_column(const Column* columns, std::int64_t first, std::int64_t last,
                         std::size_t bound) {
  while (first < last) {
    const std::int64_t middle = first + (last - first) / 2;
    if (columns[middle] < bound) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

template <typename Value, typename Column, std::size_t NumRegisters>
void add_transposed_tile(const SparseMatrix& matrix, Range rows, Range in_columns, const Tile& tile,
                         const void* gradients, std::size_t stride, void* sources) {
  using Number = Sum<Value>;
  const auto* values = static_cast<const Value*>(matrix.values);
  const auto* columns = static_cast<const Column*>(matrix.columns);
  const auto* gradient = static_cast<const Number*>(gradients);
  auto* source = static_cast<Number*>(sources);
  const std::size_t last_start = tile.last_start;
  for (std::size_t row = rows.first; row < rows.last; ++row, gradient += stride) {
    Register<Number> factors[NumRegisters];
    for (std::size_t i = 0; i < NumRegisters; ++i) {
      factors[i] = load(gradient + start_of<Number, NumRegisters>(i, last_start));
    }
    std::int64_t first = matrix.row_starts[row];
    std::int64_t last = matrix.row_starts[row + 1];
    first = in_columns.first == 0 ? first : find_column(columns, first, last, in_columns.first);
    if (first < last && columns[last - 1] >= in_columns.last) {
      last = find_column(columns, first, last, in_columns.last);
    }
    for (std::int64_t j = first; j < last; ++j) {
      const Number value = widened(values[j]);
      Number* numbers = source + tile.offsets[columns[j]];
      for (std::size_t i = 0; i < NumRegisters; ++i) {
        Number* at = numbers + start_of<Number, NumRegisters>(i, last_start);
        store(load(at) + value * factors[i], at);
      }
    }
  }
}

template <typename Value, typename Column, std::size_t NumRegisters>
void add_sampled_tile(const SparseMatrix& matrix, Range rows, const Tile& tile,
                      const void* gradients, std::size_t stride, const void* sources, void* sums) {
  using Number = Sum<Value>;
  constexpr std::size_t kNum = kLanes<Number>;
  const auto* columns = static_cast<const Column*>(matrix.columns);
  const auto* gradient = static_cast<const Number*>(gradients);
  const auto* source = static_cast<const Number*>(sources);
  const std::size_t last_start = tile.last_start;
  const std::int64_t first = matrix.row_starts[rows.first];
  auto* sum = static_cast<Number*>(sums);
  for (std::size_t row = rows.first; row < rows.last; ++row, gradient += stride) {
    Register<Number> factors[NumRegisters];
    for (std::size_t i = 0; i < NumRegisters; ++i) {
      factors[i] = load(gradient + start_of<Number, NumRegisters>(i, last_start));
    }
    const auto products_of = [&](const Column* column) __attribute__((always_inline)) {
      const Number* numbers = source + tile.offsets[*column];
      Register<Number> product =
          factors[0] * load(numbers + start_of<Number, NumRegisters>(0, last_start));
      for (std::size_t i = 1; i < NumRegisters; ++i) {
        product += factors[i] * load(numbers + start_of<Number, NumRegisters>(i, last_start));
      }
      return product;
    };
    const std::int64_t end = matrix.row_starts[row + 1];
    std::int64_t j = matrix.row_starts[row];
    for (; j + static_cast<std::int64_t>(kNum) <= end; j += kNum) {
      const Column* column = columns + j;
      const Register<Number> parts = sums_of_lanes<Number, kNum>(
          [&](std::size_t i) __attribute__((always_inline)) { return products_of(column + i); }, 0,
          1);
      store(load(sum + (j - first)) + parts, sum + (j - first));
    }
    for (; j < end; ++j) {
      const Register<Number> part = products_of(columns + j);
      // The sum is added up in the same order as in a full register.
      const Register<Number> parts = sums_of_lanes<Number, kNum>(
          [&](std::size_t) __attribute__((always_inline)) { return part; }, 0, 1);
      sum[j - first] += parts[0];
    }
  }
}

template <typename Value>
PHEW_INLINE Register<Sum<Value>> load_widened(const Value* values) {
  if constexpr (sizeof(Value) == sizeof(Sum<Value>)) {
    return load(values);
  } else {
    Register<float> result;
    for (std::size_t i = 0; i < kLanes<float>; ++i) result[i] = to_float(values[i]);
    return result;
  }
}

template <typename Value, typename Column>
void multiply_vector_by_columns(const SparseMatrix& matrix, Range rows, const void* vector,
                                const void* bias, void* results) {
  using Number = Sum<Value>;
  constexpr std::size_t kNum = kLanes<Number>;
  constexpr std::size_t kNumSums = 4;
  const auto* values = static_cast<const Value*>(matrix.values);
  const auto* columns = static_cast<const Column*>(matrix.columns);
  const auto* numbers = static_cast<const Number*>(vector);
  const auto* biases = static_cast<const Value*>(bias);
  auto* result = static_cast<Number*>(results);
  for (std::size_t row = rows.first; row < rows.last; ++row, ++result) {
    Register<Number> sums[kNumSums] = {};
    const auto end = static_cast<std::size_t>(matrix.row_starts[row + 1]);
    auto j = static_cast<std::size_t>(matrix.row_starts[row]);
    for (; j + kNumSums * kNum <= end; j += kNumSums * kNum) {
      for (std::size_t s = 0; s < kNumSums; ++s) {
        sums[s] += load_widened(values + j + s * kNum) * load_at(numbers, columns + j + s * kNum);
      }
    }
    for (; j + kNum <= end; j += kNum) {
      sums[0] += load_widened(values + j) * load_at(numbers, columns + j);
    }
    Number rest = biases == nullptr ? Number{} : widened(biases[row]);
    for (; j < end; ++j) rest += widened(values[j]) * numbers[columns[j]];
    *result = sum_of_lanes<Number>((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
  }
}

#ifdef __AVX512F__
// Returns bits [first, last), at most 32, whole words of which are read if they end before bit
// `end`.
PHEW_INLINE std::uint64_t bits_between(const std::uint8_t* bits, std::size_t first,
                                       std::size_t last, std::size_t end) {
  std::uint64_t word = 0;
  const std::uint8_t* from = bits + first / 8;
  if (first + 64 <= end) {
    std::memcpy(&word, from, sizeof word);
  } else {
    std::memcpy(&word, from, (last + 7) / 8 - first / 8);
  }
  return word >> first % 8 & ((std::uint64_t{1} << (last - first)) - 1);
}

template <typename Number, std::size_t NumVectors>
void multiply_vectors_by_bits(const SparseMatrix& matrix, const std::uint8_t* bits,
                              std::size_t num_columns, Range rows, const Number* vectors,
                              std::size_t vector_stride, const Number* bias, Number* results,
                              std::size_t result_stride) {
  constexpr std::size_t kNum = kLanes<Number>;
  // So many columns have their bits read at once: with up to 7 bits before them, they fit a word.
  constexpr std::size_t kNumAtOnce = 32;
  constexpr std::size_t kNumSums = kNumAtOnce / kNum;
  const std::size_t end = rows.last * num_columns;
  for (std::size_t row = rows.first; row < rows.last; ++row, ++results) {
    const Number* value = static_cast<const Number*>(matrix.values) + matrix.row_starts[row];
    Register<Number> sums[kNumSums][NumVectors] = {};
    const auto add = [&](std::uint64_t word, std::size_t column, Register<Number>* sum)
                         __attribute__((always_inline)) {
                           const std::uint64_t part = word & ((std::uint64_t{1} << kNum) - 1);
                           const Register<Number> expanded = load_by_bits(value, part);
                           for (std::size_t v = 0; v < NumVectors; ++v) {
                             sum[v] += expanded * load(vectors + v * vector_stride + column);
                           }
                           value += __builtin_popcountll(part);
                         };
    const std::size_t first_bit = row * num_columns;
    std::size_t column = 0;
    for (; column + kNumAtOnce <= num_columns; column += kNumAtOnce) {
      const std::size_t bit = first_bit + column;
      const std::uint64_t word = bits_between(bits, bit, bit + kNumAtOnce, end);
      for (std::size_t s = 0; s < kNumSums; ++s) add(word >> s * kNum, column + s * kNum, sums[s]);
    }
    for (; column < num_columns; column += kNum) {
      const std::size_t last = column + kNum < num_columns ? column + kNum : num_columns;
      add(bits_between(bits, first_bit + column, first_bit + last, end), column, sums[0]);
    }
    for (std::size_t v = 0; v < NumVectors; ++v) {
      Register<Number> sum = sums[0][v];
      for (std::size_t s = 1; s < kNumSums; ++s) sum += sums[s][v];
      results[v * result_stride] =
          sum_of_lanes<Number>(sum) + (bias == nullptr ? Number{} : bias[row]);
    }
  }
}

template <typename Number>
void multiply_by_bits(const SparseMatrix& matrix, const std::uint8_t* bits, std::size_t num_columns,
                      Range rows, std::size_t num_vectors, const void* vectors,
                      std::size_t vector_stride, const void* bias, void* results,
                      std::size_t result_stride) {
  with_constant<kMaxVectors>(num_vectors, [&](auto num) {
    multiply_vectors_by_bits<Number, num()>(
        matrix, bits, num_columns, rows, static_cast<const Number*>(vectors), vector_stride,
        static_cast<const Number*>(bias), static_cast<Number*>(results), result_stride);
  });
}
#endif

// Calls body(column, number), of which the first has the type of the matrix's columns and the
// second the number of the tile's registers as a constant.
template <typename Body>
void with_constants(const SparseMatrix& matrix, const Tile& tile, const Body& body) {
  with_constant<kMaxRegistersPerTile>(tile.num_registers, [&](auto num_registers) {
    if (matrix.wide_columns) {
      body(std::uint32_t{}, num_registers);
    } else {
      body(std::uint16_t{}, num_registers);
    }
  });
}

template <typename Value>
void multiply(const SparseMatrix& matrix, Range rows, const Tile& tile, const void* sources,
              const void* bias, void* results, std::size_t stride) {
  with_constants(matrix, tile, [&](auto column, auto num_registers) {
    multiply_tile<Value, decltype(column), num_registers()>(matrix, rows, tile, sources, bias,
                                                            results, stride);
  });
}

template <typename Value>
void add_transposed(const SparseMatrix& matrix, Range rows, Range columns, const Tile& tile,
                    const void* gradients, std::size_t stride, void* sources) {
  with_constants(matrix, tile, [&](auto column, auto num_registers) {
    add_transposed_tile<Value, decltype(column), num_registers()>(matrix, rows, columns, tile,
                                                                  gradients, stride, sources);
  });
}

template <typename Value>
void add_sampled(const SparseMatrix& matrix, Range rows, const Tile& tile, const void* gradients,
                 std::size_t stride, const void* sources, void* sums) {
  with_constants(matrix, tile, [&](auto column, auto num_registers) {
    add_sampled_tile<Value, decltype(column), num_registers()>(matrix, rows, tile, gradients,
                                                               stride, sources, sums);
  });
}

template <typename Value>
void multiply_vector(const SparseMatrix& matrix, Range rows, const void* vector, const void* bias,
                     void* results) {
  if (matrix.wide_columns) {
    multiply_vector_by_columns<Value, std::uint32_t>(matrix, rows, vector, bias, results);
  } else {
    multiply_vector_by_columns<Value, std::uint16_t>(matrix, rows, vector, bias, results);
  }
}

template <typename Value>
constexpr SparseLoops loops_for(decltype(SparseLoops::multiply_by_bits) by_bits) noexcept {
  return {kLanes<Sum<Value>>, multiply<Value>,        add_transposed<Value>,
          add_sampled<Value>, multiply_vector<Value>, by_bits};
}

#ifdef __AVX512F__
#define PHEW_BY_BITS(Value) multiply_by_bits<Value>
#else
#define PHEW_BY_BITS(Value) nullptr
#endif
#define PHEW_NAME PHEW_JOINED(PHEW_LOOPS, _sparse)

}  // namespace

extern const SparseLoops PHEW_NAME[3];
const SparseLoops PHEW_NAME[3] = {
    loops_for<double>(PHEW_BY_BITS(double)),
    loops_for<float>(PHEW_BY_BITS(float)),
    loops_for<BFloat16Number>(nullptr),
};

}  // namespace phew
