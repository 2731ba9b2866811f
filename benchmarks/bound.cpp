// Measures the least time that a hop can take: a random number that belongs to the walk, one lookup
// in a row of a table that stays in cache, one byte marked. Also measures how fast memory is read
// from one end to the other. The program is compiled once for each instruction set.
//
//   bound hop NUM_THREADS ROW_LENGTH NUM_HOPS   prints hops/s and the sum of the random numbers
//   bound read NUM_THREADS NUM_BYTES            prints bytes/s
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "phew/arithmetic/philox.hpp"

namespace {

constexpr int kRepetitions = 5;
constexpr std::size_t kDrawsPerBatch = 256;
constexpr std::uint32_t kLink = 3;
constexpr phew::PhiloxKey kKey = {{7, 0}};

#if defined(__AVX512F__)

// There is one walk per lane of 64 bits. Only the low half of a lane holds a word of a counter.
struct Lanes {
  using Vector = __m512i;
  static constexpr std::size_t kSize = 8;
  // So many are computed at a time, because each round of Philox waits for the one before it.
  static constexpr std::size_t kNumVectors = 4;
  static Vector fill(std::uint64_t value) {
    return _mm512_set1_epi64(static_cast<std::int64_t>(value));
  }
  static Vector count_from(std::uint64_t first) {
    return _mm512_add_epi64(fill(first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
  }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_epu32(a, b); }
  static Vector high(Vector a) { return _mm512_srli_epi64(a, 32); }
  static Vector xor3(Vector a, Vector b, Vector c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
  }
  // Returns the low halves of `high` and `low`, side by side.
  static Vector join(Vector high, Vector low) {
    return _mm512_mask_blend_epi32(0xAAAA, low, _mm512_slli_epi64(high, 32));
  }
  static void store(std::uint64_t* to, Vector a) { _mm512_storeu_si512(to, a); }
};

#elif defined(__AVX2__)

struct Lanes {
  using Vector = __m256i;
  static constexpr std::size_t kSize = 4;
  static constexpr std::size_t kNumVectors = 2;
  static Vector fill(std::uint64_t value) {
    return _mm256_set1_epi64x(static_cast<std::int64_t>(value));
  }
  static Vector count_from(std::uint64_t first) {
    return _mm256_add_epi64(fill(first), _mm256_set_epi64x(3, 2, 1, 0));
  }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_epu32(a, b); }
  static Vector high(Vector a) { return _mm256_srli_epi64(a, 32); }
  static Vector xor3(Vector a, Vector b, Vector c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
  }
  static Vector join(Vector high, Vector low) {
    return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA);
  }
  static void store(std::uint64_t* to, Vector a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
  }
};

#endif

// Draws the random bits of kDrawsPerBatch walks from `first_walk` on: philox4x32's first two words.
void draw_batch(std::uint64_t first_walk, std::uint64_t* bits) {
#if defined(__AVX2__)
  using Vector = Lanes::Vector;
  const Vector multiplier0 = Lanes::fill(0xD2511F53);
  const Vector multiplier1 = Lanes::fill(0xCD9E8D57);
  constexpr std::size_t kNumVectors = Lanes::kNumVectors;
  for (std::size_t i = 0; i < kDrawsPerBatch; i += kNumVectors * Lanes::kSize) {
    Vector words[kNumVectors][4];
    for (std::size_t v = 0; v < kNumVectors; ++v) {
      words[v][0] = Lanes::count_from(first_walk + i + v * Lanes::kSize);
      words[v][1] = Lanes::high(words[v][0]);
      words[v][2] = Lanes::fill(kLink);
      words[v][3] = Lanes::fill(1);
    }
    phew::PhiloxKey key = kKey;
    for (int round = 0; round < 10; ++round) {
      const Vector key0 = Lanes::fill(key.words[0]);
      const Vector key1 = Lanes::fill(key.words[1]);
      for (auto& block : words) {
        const Vector product0 = Lanes::multiply(multiplier0, block[0]);
        const Vector product1 = Lanes::multiply(multiplier1, block[2]);
        block[0] = Lanes::xor3(Lanes::high(product1), block[1], key0);
        block[2] = Lanes::xor3(Lanes::high(product0), block[3], key1);
        block[1] = product1;
        block[3] = product0;
      }
      key = {{key.words[0] + 0x9E3779B9u, key.words[1] + 0xBB67AE85u}};
    }
    for (std::size_t v = 0; v < kNumVectors; ++v) {
      Lanes::store(bits + i + v * Lanes::kSize, Lanes::join(words[v][1], words[v][0]));
    }
  }
#else
  for (std::size_t i = 0; i < kDrawsPerBatch; ++i) {
    const std::uint64_t walk = first_walk + i;
    const phew::PhiloxCounter block = phew::philox4x32(
        {{static_cast<std::uint32_t>(walk), static_cast<std::uint32_t>(walk >> 32), kLink, 1}},
        kKey);
    bits[i] = std::uint64_t{block.words[1]} << 32 | block.words[0];
  }
#endif
}

std::uint64_t multiply_high(std::uint64_t left, std::uint64_t right) {
  __extension__ using Product = unsigned __int128;
  return static_cast<std::uint64_t>(Product{left} * right >> 64);
}

// The hops of one thread, over a row and marks of its own.
class Hopper {
 public:
  explicit Hopper(std::size_t row_length) : row_(row_length), marks_(row_length) {
    // The permutation has no pattern that a processor could foresee.
    std::iota(row_.begin(), row_.end(), 0);
    for (std::size_t i = row_length - 1; i > 0; --i) {
      std::swap(row_[i], row_[i * 0x9E3779B97F4A7C15u % (i + 1)]);
    }
  }

  void run(std::uint64_t first_walk, std::uint64_t num_hops) {
    // These are copies, because a marked byte might be part of anything else.
    const std::uint32_t* const row = row_.data();
    std::uint8_t* const marks = marks_.data();
    const std::size_t row_length = row_.size();
    std::uint64_t bits[kDrawsPerBatch];
    for (std::uint64_t hop = 0; hop < num_hops; hop += kDrawsPerBatch) {
      draw_batch(first_walk + hop, bits);
      for (const std::uint64_t word : bits) marks[row[multiply_high(word, row_length)]] = 1;
    }
  }

 private:
  std::vector<std::uint32_t> row_;
  std::vector<std::uint8_t> marks_;
};

// Calls body(thread) in as many threads, and returns the fewest seconds of several repetitions.
template <typename Body>
double fewest_seconds(unsigned num_threads, const Body& body) {
  double fewest = 0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const auto started = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < num_threads; ++thread) threads.emplace_back(body, thread);
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
    fewest = repetition == 0 ? taken.count() : std::min(fewest, taken.count());
  }
  return fewest;
}

void measure_hops(unsigned num_threads, std::size_t row_length, std::uint64_t num_hops) {
  const std::uint64_t hops_per_thread = num_hops / num_threads / kDrawsPerBatch * kDrawsPerBatch;
  std::vector<Hopper> hoppers(num_threads, Hopper(row_length));
  const double seconds = fewest_seconds(num_threads, [&](unsigned thread) {
    hoppers[thread].run(thread * hops_per_thread, hops_per_thread);
  });
  std::uint64_t sum = 0;
  std::uint64_t bits[kDrawsPerBatch];
  for (std::uint64_t walk = 0; walk < 100 * kDrawsPerBatch; walk += kDrawsPerBatch) {
    draw_batch(walk, bits);
    sum = std::accumulate(bits, bits + kDrawsPerBatch, sum);
  }
  std::printf("%.0f %llu\n", static_cast<double>(hops_per_thread * num_threads) / seconds,
              static_cast<unsigned long long>(sum));
}

void measure_reading(unsigned num_threads, std::size_t num_bytes) {
  const std::size_t words_per_thread = num_bytes / sizeof(std::uint64_t) / num_threads;
  const std::vector<std::uint64_t> memory(words_per_thread * num_threads, 1);
  std::vector<std::uint64_t> sums(num_threads);
  const double seconds = fewest_seconds(num_threads, [&](unsigned thread) {
    const auto first = memory.begin() + static_cast<std::ptrdiff_t>(thread * words_per_thread);
    const auto last = first + static_cast<std::ptrdiff_t>(words_per_thread);
    sums[thread] = std::accumulate(first, last, std::uint64_t{0});
  });
  if (std::accumulate(sums.begin(), sums.end(), std::uint64_t{0}) != memory.size()) std::abort();
  std::printf("%.0f\n", static_cast<double>(sizeof(std::uint64_t) * memory.size()) / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return EXIT_FAILURE;
  const auto num_threads = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10));
  const std::uint64_t size = std::strtoull(argv[3], nullptr, 10);
  if (argc == 5 && std::strcmp(argv[1], "hop") == 0) {
    measure_hops(num_threads, size, std::strtoull(argv[4], nullptr, 10));
  } else if (std::strcmp(argv[1], "read") == 0) {
    measure_reading(num_threads, size);
  } else {
    return EXIT_FAILURE;
  }
}
