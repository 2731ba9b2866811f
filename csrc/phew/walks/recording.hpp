// What becomes of a visit: two policies, called with the walk and the element of the contiguous
// parameter. Several threads may record the same weight at once.
#pragma once

#include <cstdint>
#include <vector>

namespace phew {

enum class Recording : std::uint8_t {
  // Set the weight's byte; or, of walks that are to be listed, list the visits to weights whose
  // byte is not set.
  kMark,
  // Add to the weight's uint32.
  kCount,
};

// Visit i is that of walk walks[i] to the weight of number weights[i].
struct Visits {
  std::vector<std::uint64_t> walks;
  std::vector<std::uint64_t> weights;
};

struct MarkVisits {
  std::uint8_t* visited;
  std::uint64_t first_listed;
  // Of element 0.
  std::uint64_t first_number;
  Visits* listed;

  void operator()(std::uint64_t walk, std::int64_t element) const {
    // Most weights are visited more than once, and reading does not take the line from other cores.
    if (__atomic_load_n(visited + element, __ATOMIC_RELAXED) != 0) return;
    if (walk < first_listed) {
      __atomic_store_n(visited + element, std::uint8_t{1}, __ATOMIC_RELAXED);
      return;
    }
    listed->walks.push_back(walk);
    listed->weights.push_back(first_number + static_cast<std::uint64_t>(element));
  }
};

struct CountVisits {
  std::uint32_t* counts;

  void operator()(std::uint64_t /*walk*/, std::int64_t element) const {
    __atomic_fetch_add(counts + element, 1U, __ATOMIC_RELAXED);
  }
};

}  // namespace phew
