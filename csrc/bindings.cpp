// The engine for Python. Nothing else knows Python, but for the files beside it.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "casters.hpp"
#include "hold_bindings.hpp"
#include "phew/loops/loops.hpp"
#include "phew/walk_engine.hpp"
#ifdef PHEW_CUDA
#include "phew/cuda/support.hpp"
#include "phew/cuda/walk_engine.hpp"
#endif
#include "sparse_bindings.hpp"

namespace py = pybind11;

namespace {

// An argument without conversions, so that the stub names its exact type.
py::arg exact(const char* name) { return py::arg(name).noconvert(); }

// An array whose data is copied. Other dtypes are refused, so that the stub is exact.
template <typename Element>
using Array = py::array_t<Element, py::array::c_style>;

template <typename To, typename From>
std::vector<To> to_vector(const Array<From>& array) {
  return {array.data(), array.data() + array.size()};
}

template <typename Element>
std::vector<std::vector<Element>> to_vectors(const py::handle& arrays) {
  std::vector<std::vector<Element>> vectors;
  for (const auto& array : arrays.cast<std::vector<Array<Element>>>()) {
    vectors.push_back(to_vector<Element>(array));
  }
  return vectors;
}

// Returns an array of the vector's data. It keeps the vector's owner alive.
template <typename Element>
py::array_t<Element> writable_view(const std::vector<Element>& values, const py::object& owner) {
  return py::array_t<Element>(static_cast<py::ssize_t>(values.size()), values.data(), owner);
}

// Returns the same array, read-only.
template <typename Element>
py::array_t<Element> view(const std::vector<Element>& values, const py::object& owner) {
  py::array_t<Element> array = writable_view(values, owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

using Arrays = py::typing::List<py::array_t<double>>;

Arrays views(const py::object& self, std::vector<std::vector<double>> phew::Flow::* member) {
  py::list arrays;
  for (const auto& values : self.cast<const phew::Flow&>().*member) {
    arrays.append(view(values, self));
  }
  return arrays;
}

phew::WeightedLink make_weighted_link(std::uint32_t source, std::uint32_t target,
                                      const std::array<std::uint32_t, 4>& shape,
                                      const std::array<std::int64_t, 4>& strides,
                                      std::int64_t offset, bool shortcut,
                                      const std::array<Array<std::uint32_t>, 2>& degrees) {
  phew::WeightedLink link{source,   target,  shape[0], shape[1], shape[2],
                          shape[3], strides, offset,   shortcut};
  link.source_degrees = to_vector<std::uint32_t>(degrees[0]);
  link.target_degrees = to_vector<std::uint32_t>(degrees[1]);
  return link;
}

phew::WiringLink make_wiring_link(std::uint32_t source, std::uint32_t target,
                                  const Array<std::int32_t>& source_groups,
                                  const Array<std::int32_t>& target_groups, bool shortcut) {
  return {source, target, to_vector<std::int32_t>(source_groups),
          to_vector<std::int32_t>(target_groups), shortcut};
}

phew::Graph make_graph(const std::vector<Array<bool>>& live, std::vector<phew::Link> links,
                       std::vector<std::uint32_t> entries, std::vector<std::uint32_t> exits) {
  phew::Graph graph{{}, std::move(links), std::move(entries), std::move(exits)};
  for (const Array<bool>& space : live) graph.live.push_back(to_vector<std::uint8_t>(space));
  return graph;
}

// Pointers are numbers in Python, as torch.Tensor.data_ptr() returns them.
void* to_pointer(std::uintptr_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}

void bind_graph(py::module_& module) {
  py::class_<phew::WeightedLink>(module, "WeightedLink",
                                 "A phew.graph.WeightedLink for the engine.")
      .def(py::init(&make_weighted_link), exact("source"), exact("target"), py::kw_only(),
           py::arg("shape"), py::arg("strides"), exact("offset"), exact("shortcut"),
           py::arg("degrees"));
  py::class_<phew::WiringLink>(module, "WiringLink", "A phew.graph.WiringLink for the engine.")
      .def(py::init(&make_wiring_link), exact("source"), exact("target"), py::kw_only(),
           exact("source_groups"), exact("target_groups"), exact("shortcut"));
  py::class_<phew::Graph>(module, "Graph", "A phew.graph.WalkGraph for the engine.")
      .def(py::init(&make_graph), py::arg("live"), py::arg("links"), py::arg("entries"),
           py::arg("exits"));
  py::class_<phew::LinkBuffers>(
      module, "LinkBuffers",
      "Addresses of a link's contiguous parameter and of the record of its visits: one byte per\n"
      "weight to mark, or one uint32 per weight to count. It is 0 to record nothing.\n"
      "Listed visits number weights through all parameters: element e is first_number + e.\n"
      "If has_absent is set, weights of -0 are absent edges.")
      .def(py::init([](std::uintptr_t weights, phew::DType dtype, std::uintptr_t visits,
                       std::uint64_t first_number, bool has_absent) {
             return phew::LinkBuffers{to_pointer(weights), dtype, to_pointer(visits), first_number,
                                      has_absent};
           }),
           exact("weights"), exact("dtype"), exact("visits") = 0, exact("first_number") = 0,
           exact("has_absent") = false);
}

void bind_loops(py::module_& module) {
  module.def(
      "instruction_set", [] { return phew::loops().name; },
      "The instruction set of the loops in use. The environment variable\n"
      "PHEW_INSTRUCTION_SET chooses it when it is first needed.");
  module.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        for (const phew::Loops* loops : phew::supported_loops()) {
          names.emplace_back(loops->name);
        }
        return names;
      },
      "The instruction sets that this processor has, the fastest last.");
}

void bind_options(py::module_& module) {
  py::class_<phew::Options>(module, "Options", "Options of a walk, checked by Python.")
      .def(py::init([](std::uint64_t seed, phew::ForkRule fork, phew::Granularity granularity,
                       int power) { return phew::Options{seed, fork, granularity, power}; }),
           py::kw_only(), exact("seed"), exact("fork"), exact("granularity"), exact("power"));
}

void bind_walks(py::module_& module) {
  py::class_<phew::WalkRange>(
      module, "WalkRange",
      "The walks first_walk, first_walk + step, ... The visits of walks from first_listed on are\n"
      "listed.")
      .def(py::init([](std::uint64_t first_walk, std::uint64_t num_walks,
                       std::uint64_t first_listed, std::uint32_t step) {
             if (step != 1 && step != 2) {
               throw py::value_error("step must be 1 or 2, got " + std::to_string(step) + ".");
             }
             return phew::WalkRange{first_walk, num_walks, first_listed, step};
           }),
           exact("first_walk"), exact("num_walks"), py::kw_only(), exact("first_listed"),
           exact("step"));
  py::class_<phew::Visits>(
      module, "Visits",
      "Visit i is a visit of walk `walks[i]` to the weight of number `weights[i]`.")
      .def_property_readonly("walks",
                             [](const py::object& self) {
                               return writable_view(self.cast<const phew::Visits&>().walks, self);
                             })
      .def_property_readonly("weights", [](const py::object& self) {
        return writable_view(self.cast<const phew::Visits&>().weights, self);
      });
}

void bind_measures(py::module_& module) {
  py::class_<phew::LinkMeasure>(
      module, "LinkMeasure", "The measures of a link's weights. Those of a wiring link are empty.")
      .def_property_readonly(
          "is_finite", [](const phew::LinkMeasure& measure) { return measure.range.is_finite; })
      .def_property_readonly(
          "num_zero", [](const phew::LinkMeasure& measure) { return measure.range.num_zero; },
          "The number of weights that are zero.")
      .def_property_readonly(
          "source_totals",
          [](const py::object& self) {
            return view(self.cast<const phew::LinkMeasure&>().totals.sources, self);
          },
          "Per source unit, the mass of its edges to live units.")
      .def_property_readonly(
          "target_totals",
          [](const py::object& self) {
            return view(self.cast<const phew::LinkMeasure&>().totals.targets, self);
          },
          "Per target unit, the mass of its edges to live units.");
}

void bind_rates(py::module_& module) {
  py::class_<phew::RateHistogram>(module, "RateHistogram",
                                  "Numbers of weights by the rate at which walks visit them.")
      .def_property_readonly(
          "rates",
          [](const py::object& self) {
            return view(self.cast<const phew::RateHistogram&>().rates, self);
          },
          "Per bin, the mean rate in expected visits per walk.")
      .def_property_readonly(
          "numbers",
          [](const py::object& self) {
            return view(self.cast<const phew::RateHistogram&>().numbers, self);
          },
          "Per bin, the number of weights.");
}

void bind_flow(py::module_& module) {
  py::class_<phew::Flow>(module, "Flow", "How often a walk of one direction passes each unit.")
      .def_property_readonly(
          "units", [](const py::object& self) { return views(self, &phew::Flow::units); },
          "Per space, the probability that a walk passes each unit.")
      .def_property_readonly(
          "links", [](const py::object& self) { return views(self, &phew::Flow::links); },
          "Per link, the probability that a walk takes it from each unit on its near side.")
      .def(py::pickle(
          [](const py::object& self) -> py::typing::Tuple<Arrays, Arrays> {
            return py::make_tuple(views(self, &phew::Flow::units), views(self, &phew::Flow::links));
          },
          [](const py::typing::Tuple<Arrays, Arrays>& state) {
            return phew::Flow{to_vectors<double>(state[0]), to_vectors<double>(state[1])};
          }));
}

void bind_engine(py::module_& module) {
  py::class_<phew::WalkEngine>(module, "WalkEngine",
                               "The walks of one graph under one seed and one set of options.")
      .def(py::init([](const phew::Graph& graph, const phew::Options& options) {
             return phew::WalkEngine(graph, options);
           }),
           exact("graph"), exact("options"))
      .def("measure", &phew::WalkEngine::measure, exact("load"), py::kw_only(),
           exact("num_threads"), py::call_guard<py::gil_scoped_release>(),
           "Measure the weights. Must be called first, and again whenever they have changed.\n\n"
           "Return the measures of each link. The other methods can be called if all are finite.")
      .def("flow", &phew::WalkEngine::flow, exact("direction"), exact("load"), py::kw_only(),
           exact("num_threads"), py::call_guard<py::gil_scoped_release>(),
           "Compute the exact flow, without sampling.")
      .def("count_rates", &phew::WalkEngine::count_rates, exact("links"), exact("forward"),
           exact("backward"), py::kw_only(), exact("share"), exact("load"), exact("num_threads"),
           py::call_guard<py::gil_scoped_release>(),
           "Count the weights of each link by the expected visits per walk to them or their "
           "kernels.\n"
           "Only a share of the weights is looked at; the others are taken to be alike.")
      .def(
          "walk",
          [](const phew::WalkEngine& engine, const phew::WalkRange& walks, const phew::Load& load,
             phew::Recording recording, unsigned num_threads, std::uint32_t batch_size) {
            if (batch_size == 0) throw py::value_error("batch_size must be at least 1, got 0.");
            return engine.walk(walks, recording, load, num_threads, batch_size);
          },
          exact("walks"), exact("load"), py::kw_only(), exact("recording"), exact("num_threads"),
          exact("batch_size"), py::call_guard<py::gil_scoped_release>(),
          "Walk and record the visits in the buffers that `load` returns.\n\n"
          "Walks from first_listed on do not mark. Return their visits to weights without a mark, "
          "in\n"
          "any order. There may be several to one weight, also to a weight that this call marks.");
}

#ifdef PHEW_CUDA

// Returns a device whose memory is torch's. Addresses are numbers in Python.
phew::cuda::Device make_device(std::function<std::uintptr_t(std::size_t)> allocate,
                               std::function<void(std::uintptr_t)> release, std::uintptr_t stream) {
  return {[allocate = std::move(allocate)](std::size_t size) { return to_pointer(allocate(size)); },
          [release = std::move(release)](void* memory) {
            try {
              release(reinterpret_cast<std::uintptr_t>(memory));
            } catch (py::error_already_set& error) {
              // A destructor called this, so there is no caller that could catch the error.
              const py::gil_scoped_acquire acquire;
              error.discard_as_unraisable("the release of device memory");
            }
          },
          to_pointer(stream)};
}

void bind_cuda_support(py::module_& module) {
  module.def("cuda_version", &phew::cuda::version,
             "The version of CUDA that the engine was built with, such as \"13.0\".");
  module.def("cuda_capabilities", &phew::cuda::compute_capabilities,
             "The compute capabilities that the engine was built for, in ascending order.");
  module.def("cuda_obstacle", &phew::cuda::obstacle,
             "Why the engine cannot run on the current CUDA device; empty if it can.");
}

void bind_cuda_engine(py::module_& module) {
  using Engine = phew::cuda::WalkEngine;
  py::class_<Engine>(module, "CudaWalkEngine",
                     "A WalkEngine on the current CUDA device. Buffers are memory of that device.")
      .def(py::init([](const phew::Graph& graph, const phew::Options& options,
                       std::function<std::uintptr_t(std::size_t)> allocate,
                       std::function<void(std::uintptr_t)> release, std::uintptr_t stream) {
             return Engine(graph, options,
                           make_device(std::move(allocate), std::move(release), stream));
           }),
           exact("graph"), exact("options"), py::kw_only(), exact("allocate"), exact("release"),
           exact("stream"))
      .def("measure", &Engine::measure, exact("load"), py::call_guard<py::gil_scoped_release>(),
           "Do what WalkEngine.measure does.")
      .def("flow", &Engine::flow, exact("direction"), exact("load"),
           py::call_guard<py::gil_scoped_release>(), "Do what WalkEngine.flow does.")
      .def("count_rates", &Engine::count_rates, exact("links"), exact("forward"), exact("backward"),
           py::kw_only(), exact("share"), exact("load"), py::call_guard<py::gil_scoped_release>(),
           "Do what WalkEngine.count_rates does.")
      .def(
          "walk",
          [](const Engine& engine, const phew::WalkRange& walks, const phew::Load& load,
             phew::Recording recording, std::uint32_t batch_size, std::uintptr_t listed_walks,
             std::uintptr_t listed_weights, std::uint64_t capacity, std::uintptr_t num_visits,
             std::uintptr_t changed_link) {
            const auto pointer = [](std::uintptr_t address) {
              return static_cast<std::uint64_t*>(to_pointer(address));
            };
            engine.walk(
                walks, recording, load, batch_size,
                {pointer(listed_walks), pointer(listed_weights), capacity, pointer(num_visits)},
                pointer(changed_link));
          },
          exact("walks"), exact("load"), py::kw_only(), exact("recording"), exact("batch_size"),
          exact("listed_walks"), exact("listed_weights"), exact("capacity"), exact("num_visits"),
          exact("changed_link"), py::call_guard<py::gil_scoped_release>(),
          "Do what WalkEngine.walk does, but queue the walks and return at once.\n\n"
          "Visits are listed in the arrays at the addresses `listed_walks` and `listed_weights`, "
          "up\n"
          "to their capacity. The number of all is added to the one at the address `num_visits`.\n"
          "Where the weights of a link are not those that were measured, its index plus 1 is put "
          "at "
          "the\n"
          "address `changed_link`.");
}

#endif

}  // namespace

// Python catches the exception by its type, and finds the link in its arguments.
void bind_errors(py::module_& module) {
  static const py::exception<phew::WeightsChanged> error(module, "WeightsChangedError",
                                                         PyExc_RuntimeError);
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(std::move(thrown));
    } catch (const phew::WeightsChanged& changed) {
      PyErr_SetObject(error.ptr(), py::int_(changed.link).ptr());
    }
  });
}

PYBIND11_MODULE(_core, module) {
  module.doc() = "The walk engine.";
  module.attr("__version__") = PHEW_VERSION;
  bind_errors(module);
  bind_graph(module);
  bind_loops(module);
  bind_hold(module);
  bind_sparse(module);
  bind_options(module);
  bind_walks(module);
  bind_measures(module);
  bind_rates(module);
  bind_flow(module);
  bind_engine(module);
#ifdef PHEW_CUDA
  bind_cuda_support(module);
  bind_cuda_engine(module);
#endif
}
