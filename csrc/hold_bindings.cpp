#include "hold_bindings.hpp"

#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "phew/loops/loops.hpp"

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

}  // namespace

void bind_hold(py::module_& module) {
  module.def(
      "zero_pruned",
      [](std::uintptr_t numbers, const py::array_t<std::uint8_t, py::array::c_style>& kept,
         std::size_t num, std::uintptr_t zeroed, std::size_t item_size) {
        const phew::ZeroFunction zero_pruned = zero_function(item_size);
        if (static_cast<std::size_t>(kept.size()) != (num + 7) / 8) {
          throw py::value_error("kept must have a bit for each of " + std::to_string(num) +
                                " numbers, got " + std::to_string(kept.size()) + " bytes.");
        }
        const std::uint8_t* bits = kept.data();
        const py::gil_scoped_release release;
        // NOLINTBEGIN(performance-no-int-to-ptr)
        return zero_pruned(reinterpret_cast<const void*>(numbers), bits, num,
                           reinterpret_cast<void*>(zeroed));
        // NOLINTEND(performance-no-int-to-ptr)
      },
      py::arg("numbers").noconvert(), py::arg("kept").noconvert(), py::arg("num").noconvert(),
      py::arg("zeroed").noconvert(), py::arg("item_size").noconvert(),
      "Copy numbers from an address to another, or to the same, those as zeros whose bit in `kept` "
      "is\n"
      "not set. Return whether any of these was another number.");
}
