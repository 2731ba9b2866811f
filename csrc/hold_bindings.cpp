#include "hold_bindings.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "phew/loops/loops.hpp"
#include "phew/threads/shared_threads.hpp"

namespace py = pybind11;

namespace {

phew::ZeroFunction zero_function(std::size_t item_size) {
  switch (item_size) {
    case 2:
      return phew::loops().zero_pruned[0];
    case 4:
      return phew::loops().zero_pruned[1];
    case 8:
      return phew::loops().zero_pruned[2];
    default:
      throw py::value_error("item_size must be 2, 4 or 8, got " + std::to_string(item_size) + ".");
  }
}

// Runs a loop in threads, each on a whole number of bytes of bits.
bool zero_in_threads(phew::ZeroFunction zero_pruned, const std::byte* numbers,
                     const std::uint8_t* kept, std::size_t num, std::byte* zeroed,
                     std::size_t item_size, unsigned num_threads) {
  // A part takes some 10 us, far longer than waking a thread up.
  constexpr std::size_t kNumPerTask = 65'536;
  std::atomic<bool> changed{false};
  phew::for_each_task(num_threads, (num + kNumPerTask - 1) / kNumPerTask, [&](std::size_t task) {
    const std::size_t first = task * kNumPerTask;
    const std::size_t n = std::min(num - first, kNumPerTask);
    if (zero_pruned(numbers + first * item_size, kept + first / 8, n, zeroed + first * item_size)) {
      changed.store(true, std::memory_order_relaxed);
    }
  });
  return changed.load();
}

}  // namespace

void bind_hold(py::module_& module) {
  module.def(
      "zero_pruned",
      [](std::uintptr_t numbers, const py::array_t<std::uint8_t, py::array::c_style>& kept,
         std::size_t num, std::uintptr_t zeroed, std::size_t item_size, unsigned num_threads) {
        const phew::ZeroFunction zero_pruned = zero_function(item_size);
        if (static_cast<std::size_t>(kept.size()) != (num + 7) / 8) {
          throw py::value_error("kept must have a bit for each of " + std::to_string(num) +
                                " numbers, got " + std::to_string(kept.size()) + " bytes.");
        }
        const std::uint8_t* bits = kept.data();
        const py::gil_scoped_release release;
        // NOLINTBEGIN(performance-no-int-to-ptr)
        return zero_in_threads(zero_pruned, reinterpret_cast<const std::byte*>(numbers), bits, num,
                               reinterpret_cast<std::byte*>(zeroed), item_size, num_threads);
        // NOLINTEND(performance-no-int-to-ptr)
      },
      py::arg("numbers").noconvert(), py::arg("kept").noconvert(), py::arg("num").noconvert(),
      py::arg("zeroed").noconvert(), py::arg("item_size").noconvert(), py::kw_only(),
      py::arg("num_threads").noconvert(),
      "Copy numbers from an address to another, or to the same, those as zeros whose bit in `kept` "
      "is\n"
      "not set. Return whether any of these was another number.");
}
