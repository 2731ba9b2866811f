#include "sparse_bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "casters.hpp"
#include "phew/loops/loops.hpp"
#include "phew/sparse/expansion.hpp"
#include "phew/sparse/layer_shape.hpp"
#include "phew/sparse/products.hpp"

namespace py = pybind11;

namespace {

py::arg exact(const char* name) { return py::arg(name).noconvert(); }

// Pointers are numbers in Python, as torch.Tensor.data_ptr() returns them.
template <typename Number = std::byte>
Number* to_pointer(std::uintptr_t address) {
  return reinterpret_cast<Number*>(address);  // NOLINT(performance-no-int-to-ptr)
}

// Puts the sizes of fewer dimensions behind those that all images have.
phew::Sizes to_sizes(const char* name, const std::vector<std::size_t>& given, std::size_t rest) {
  phew::Sizes sizes;
  if (given.size() > sizes.size()) {
    throw py::value_error(std::string(name) + " must have up to 3 numbers, got " +
                          std::to_string(given.size()) + ".");
  }
  sizes.fill(rest);
  std::copy_backward(given.begin(), given.end(), sizes.end());
  return sizes;
}

phew::LayerShape make_shape(std::size_t num_images, std::size_t in_channels,
                            std::size_t out_channels, const std::vector<std::size_t>& in_size,
                            const std::vector<std::size_t>& kernel_size,
                            const std::vector<std::size_t>& stride,
                            const std::vector<std::size_t>& padding,
                            const std::vector<std::size_t>& dilation, std::size_t groups) {
  return {num_images,
          in_channels,
          out_channels,
          groups,
          to_sizes("in_size", in_size, 1),
          to_sizes("kernel_size", kernel_size, 1),
          to_sizes("stride", stride, 1),
          to_sizes("padding", padding, 0),
          to_sizes("dilation", dilation, 1)};
}

phew::SparseMatrix make_matrix(std::uintptr_t values, std::uintptr_t columns,
                               std::uintptr_t row_starts, bool wide_columns) {
  return {to_pointer(values), to_pointer(columns), to_pointer<std::int64_t>(row_starts),
          wide_columns};
}

}  // namespace

void bind_sparse(py::module_& module) {
  py::class_<phew::LayerShape>(
      module, "LayerShape",
      "The shape of a linear layer, or of a convolution of up to 3 dimensions, and of its input.")
      .def(py::init(&make_shape), exact("num_images"), exact("in_channels"), exact("out_channels"),
           py::arg("in_size"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
           py::arg("dilation"), exact("groups"));
  py::class_<phew::SparseMatrix>(
      module, "SparseMatrix",
      "The addresses of a sparse matrix: values, their columns (uint16, or uint32 if these are\n"
      "wide), and where each row begins (int64, one more than there are rows).")
      .def(py::init(&make_matrix), exact("values"), exact("columns"), exact("row_starts"),
           exact("wide_columns"));
  module.def(
      "sparse_product",
      [](const phew::LayerShape& shape, const phew::SparseMatrix& weight, std::uintptr_t bits,
         phew::DType dtype, std::uintptr_t input, std::uintptr_t bias, std::uintptr_t output,
         unsigned num_threads) {
        const py::gil_scoped_release release;
        phew::product(phew::loops(), shape, {dtype, weight, to_pointer<std::uint8_t>(bits)},
                      to_pointer(input), to_pointer(bias), to_pointer(output), num_threads);
      },
      py::arg("shape"), py::arg("weight"), exact("bits"), exact("dtype"), exact("input"),
      exact("bias"), exact("output"), py::kw_only(), exact("num_threads"),
      "Apply a layer with a sparse weight, whose mask has these bits. The bias may be 0.");
  module.def(
      "transposed_product",
      [](const phew::LayerShape& shape, const phew::SparseMatrix& weight, phew::DType dtype,
         std::uintptr_t out_gradient, std::uintptr_t in_gradient, unsigned num_threads) {
        const py::gil_scoped_release release;
        phew::transposed_product(phew::loops(), shape, {dtype, weight, nullptr},
                                 to_pointer(out_gradient), to_pointer(in_gradient), num_threads);
      },
      py::arg("shape"), py::arg("weight"), exact("dtype"), exact("out_gradient"),
      exact("in_gradient"), py::kw_only(), exact("num_threads"),
      "Compute the gradient of a layer's input from that of its output.");
  module.def(
      "sampled_product",
      [](const phew::LayerShape& shape, const phew::SparseMatrix& weight, phew::DType dtype,
         std::uintptr_t out_gradient, std::uintptr_t input, std::uintptr_t weight_gradient,
         unsigned num_threads) {
        const py::gil_scoped_release release;
        phew::sampled_product(phew::loops(), shape, {dtype, weight, nullptr},
                              to_pointer(out_gradient), to_pointer(input),
                              to_pointer(weight_gradient), num_threads);
      },
      py::arg("shape"), py::arg("weight"), exact("dtype"), exact("out_gradient"), exact("input"),
      exact("weight_gradient"), py::kw_only(), exact("num_threads"),
      "Compute the gradient of a layer's kept weights; their values are not read.");
  module.def(
      "expand",
      [](const phew::SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
         std::size_t num_columns, std::uintptr_t dense, unsigned num_threads) {
        const py::gil_scoped_release release;
        phew::expand(matrix, item_size, num_rows, num_columns, to_pointer(dense), num_threads);
      },
      py::arg("matrix"), exact("item_size"), exact("num_rows"), exact("num_columns"),
      exact("dense"), py::kw_only(), exact("num_threads"),
      "Write a sparse matrix as a dense one, whose numbers have item_size bytes.");
  module.def(
      "gather",
      [](const phew::SparseMatrix& matrix, std::size_t item_size, std::size_t num_rows,
         std::size_t num_columns, std::uintptr_t dense, std::uintptr_t values,
         unsigned num_threads) {
        const py::gil_scoped_release release;
        phew::gather(matrix, item_size, num_rows, num_columns, to_pointer(dense),
                     to_pointer(values), num_threads);
      },
      py::arg("matrix"), exact("item_size"), exact("num_rows"), exact("num_columns"),
      exact("dense"), exact("values"), py::kw_only(), exact("num_threads"),
      "Write the values of a sparse matrix, which are not read, from those of a dense one.");
}
