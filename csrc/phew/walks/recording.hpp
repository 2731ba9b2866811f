// How visits are recorded: two policies, called with the number of a walk and the visited element
// of the contiguous parameter. Several threads may record visits to the same weight at once.
#pragma once

#include <cstdint>
#include <vector>

#include "phew/arithmetic/macros.hpp"

namespace phew {

enum class Recording : std::uint8_t {
  // Set the weight's byte. Visits of walks that are to be listed are listed instead, if the byte of
  // the weight is not set.
  kMark,
  // Add 1 to the weight's uint32.
  kCount,
};

// Visit i is a visit of walk walks[i] to the weight of number weights[i].
struct Visits {
  std::vector<std::uint64_t> walks;
  std::vector<std::uint64_t> weights;

  void add(std::uint64_t walk, std::uint64_t weight) {
    walks.push_back(walk);
    weights.push_back(weight);
  }
};

// A List has a member add(walk, weight).
template <typename List>
struct MarkVisits {
  std::uint8_t* marks;
  std::uint64_t first_listed;
  // The number of this parameter's element 0 among all prunable weights.
  std::uint64_t first_number;
  List* list;
  // Whether other threads mark the same weights at the same time.
  bool is_shared;

  PHEW_HOST_DEVICE void operator()(std::uint64_t walk, std::int64_t element) const {
    const bool is_listed = walk >= first_listed;
    // Setting a mark again takes less time than asking whether it is set, except that it takes the
    // cache line away from other cores.
    if ((is_shared || is_listed) && is_set(marks + element)) return;
    if (is_listed) {
      list->add(walk, first_number + static_cast<std::uint64_t>(element));
    } else {
      set(marks + element);
    }
  }

 private:
  PHEW_HOST_DEVICE static bool is_set(const std::uint8_t* mark) {
#ifdef __CUDA_ARCH__
    return *mark != 0;
#else
    return __atomic_load_n(mark, __ATOMIC_RELAXED) != 0;
#endif
  }

  PHEW_HOST_DEVICE static void set(std::uint8_t* mark) {
#ifdef __CUDA_ARCH__
    *mark = 1;
#else
    __atomic_store_n(mark, std::uint8_t{1}, __ATOMIC_RELAXED);
#endif
  }
};

struct CountVisits {
  std::uint32_t* counts;

  PHEW_HOST_DEVICE void operator()(std::uint64_t /*walk*/, std::int64_t element) const {
#ifdef __CUDA_ARCH__
    atomicAdd(counts + element, 1U);
#else
    __atomic_fetch_add(counts + element, 1U, __ATOMIC_RELAXED);
#endif
  }
};

}  // namespace phew
