// The only file that knows Python.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phew/walk_engine.hpp"

namespace py = pybind11;

// Enumerators are strings in Python, in the order of their values.
namespace pybind11::detail {

template <typename Enum>
bool load_choice(handle source, std::initializer_list<std::string_view> names, Enum& value) {
  if (!isinstance<str>(source)) return false;
  const auto* found = std::find(names.begin(), names.end(), source.cast<std::string>());
  value = static_cast<Enum>(found - names.begin());
  return found != names.end();
}

template <>
struct type_caster<phew::DType> {
  PYBIND11_TYPE_CASTER(phew::DType,
                       const_name("typing.Literal['float64', 'float32', 'float16', 'bfloat16']"));
  bool load(handle source, bool /*convert*/) {
    return load_choice(source, {"float64", "float32", "float16", "bfloat16"}, value);
  }
};

template <>
struct type_caster<phew::ForkRule> {
  PYBIND11_TYPE_CASTER(phew::ForkRule, const_name("typing.Literal['uniform', 'mass']"));
  bool load(handle source, bool /*convert*/) {
    return load_choice(source, {"uniform", "mass"}, value);
  }
};

template <>
struct type_caster<phew::Granularity> {
  PYBIND11_TYPE_CASTER(phew::Granularity, const_name("typing.Literal['weight', 'kernel']"));
  bool load(handle source, bool /*convert*/) {
    return load_choice(source, {"weight", "kernel"}, value);
  }
};

template <>
struct type_caster<phew::Direction> {
  PYBIND11_TYPE_CASTER(phew::Direction, const_name("typing.Literal['forward', 'backward']"));
  bool load(handle source, bool /*convert*/) {
    return load_choice(source, {"forward", "backward"}, value);
  }
};

template <>
struct type_caster<phew::Recording> {
  PYBIND11_TYPE_CASTER(phew::Recording, const_name("typing.Literal['mark', 'count']"));
  bool load(handle source, bool /*convert*/) {
    return load_choice(source, {"mark", "count"}, value);
  }
};

}  // namespace pybind11::detail

namespace {

// An argument that is taken as it is, so that the stub names its type.
py::arg exact(const char* name) { return py::arg(name).noconvert(); }

// An array whose data is copied; of its dtype already, so that the stub is exact.
template <typename Element>
using Array = py::array_t<Element, py::array::c_style>;

template <typename To, typename From>
std::vector<To> to_vector(const Array<From>& array) {
  return {array.data(), array.data() + array.size()};
}

py::array_t<double> to_array(const std::vector<double>& values) {
  return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
}

// A read-only array of the vector's data, which keeps its owner alive.
template <typename Element>
py::array_t<Element> view(const std::vector<Element>& values, const py::object& owner) {
  py::array_t<Element> array(static_cast<py::ssize_t>(values.size()), values.data(), owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

py::typing::List<py::array_t<double>> views(const py::object& self,
                                            std::vector<std::vector<double>> phew::Flow::* member) {
  py::list arrays;
  for (const auto& values : self.cast<const phew::Flow&>().*member) {
    arrays.append(view(values, self));
  }
  return arrays;
}

phew::WeightedLink make_weighted_link(std::uint32_t source, std::uint32_t target,
                                      const std::array<std::uint32_t, 4>& shape,
                                      const std::array<std::int64_t, 4>& strides,
                                      std::int64_t offset, bool shortcut) {
  const auto [num_groups, targets_per_group, sources_per_group, num_positions] = shape;
  return {source,        target,  num_groups, targets_per_group, sources_per_group,
          num_positions, strides, offset,     shortcut};
}

phew::WiringLink make_wiring_link(std::uint32_t source, std::uint32_t target,
                                  const Array<std::int32_t>& source_groups,
                                  const Array<std::int32_t>& target_groups, bool shortcut) {
  return {source, target, to_vector<std::int32_t>(source_groups),
          to_vector<std::int32_t>(target_groups), shortcut};
}

phew::WalkEngine make_engine(const std::vector<Array<bool>>& live, std::vector<phew::Link> links,
                             std::vector<std::uint32_t> entries, std::vector<std::uint32_t> exits,
                             std::uint64_t seed, phew::ForkRule fork, phew::Granularity granularity,
                             int power) {
  phew::Graph graph{{}, std::move(links), std::move(entries), std::move(exits)};
  for (const Array<bool>& space : live) graph.live.push_back(to_vector<std::uint8_t>(space));
  return {std::move(graph), {seed, fork, granularity, power}};
}

// Pointers are numbers in Python, as torch.Tensor.data_ptr() gives them.
void* to_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

void bind_graph(py::module_& module) {
  py::class_<phew::WeightedLink>(module, "WeightedLink", "As phew.graph.WeightedLink.")
      .def(py::init(&make_weighted_link), exact("source"), exact("target"), py::kw_only(),
           py::arg("shape"), py::arg("strides"), exact("offset"), exact("shortcut"));
  py::class_<phew::WiringLink>(module, "WiringLink", "As phew.graph.WiringLink.")
      .def(py::init(&make_wiring_link), exact("source"), exact("target"), py::kw_only(),
           exact("source_groups"), exact("target_groups"), exact("shortcut"));
  py::class_<phew::LinkBuffers>(
      module, "LinkBuffers",
      "Addresses of a link's contiguous parameter and of what is recorded of its visits: a byte a\n"
      "weight, or a uint32 to count; 0 to record nothing.")
      .def(py::init([](std::uintptr_t weights, phew::DType dtype, std::uintptr_t visits) {
             return phew::LinkBuffers{to_pointer(weights), dtype, to_pointer(visits)};
           }),
           exact("weights"), exact("dtype"), exact("visits") = 0);
}

void bind_visits(py::module_& module) {
  py::class_<phew::Visits>(module, "Visits",
                           "Visit i is of walk `walks[i]`, over link `links[i]`, to element\n"
                           "`elements[i]` of that link's parameter.")
      .def_property_readonly(
          "walks",
          [](const py::object& self) { return view(self.cast<const phew::Visits&>().walks, self); })
      .def_property_readonly(
          "links",
          [](const py::object& self) { return view(self.cast<const phew::Visits&>().links, self); })
      .def_property_readonly("elements", [](const py::object& self) {
        return view(self.cast<const phew::Visits&>().elements, self);
      });
}

void bind_measures(py::module_& module) {
  py::class_<phew::LinkMeasure>(module, "LinkMeasure",
                                "What was measured of a link's weights. Of wiring links nothing.")
      .def_property_readonly(
          "is_finite", [](const phew::LinkMeasure& measure) { return measure.range.is_finite; })
      .def_property_readonly(
          "num_zero", [](const phew::LinkMeasure& measure) { return measure.range.num_zero; },
          "How many weights are zero.")
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
  py::class_<phew::Flow>(module, "Flow", "Expected passages of a walk of one direction.")
      .def_property_readonly(
          "units", [](const py::object& self) { return views(self, &phew::Flow::units); },
          "Per space, the probability that a walk passes each unit.")
      .def_property_readonly(
          "links", [](const py::object& self) { return views(self, &phew::Flow::links); },
          "Per link, the probability that a walk takes it from each unit on its near side.");
}

void bind_engine(py::module_& module) {
  py::class_<phew::WalkEngine>(module, "WalkEngine",
                               "The walks of one graph under one seed and one set of options.")
      .def(py::init(&make_engine), py::arg("live"), py::arg("links"), py::arg("entries"),
           py::arg("exits"), py::kw_only(), exact("seed"), exact("fork"), exact("granularity"),
           exact("power"))
      .def("measure", &phew::WalkEngine::measure, exact("load"), py::kw_only(),
           exact("num_threads"), py::call_guard<py::gil_scoped_release>(),
           "Measure the weights, before all else and whenever they have changed.\n\n"
           "Return the measures of each link. If they are finite, the other methods can be called.")
      .def("flow", &phew::WalkEngine::flow, exact("direction"), exact("load"), py::kw_only(),
           exact("num_threads"), py::call_guard<py::gil_scoped_release>(),
           "Compute the exact flow, without sampling.")
      .def(
          "count_rates",
          [](const phew::WalkEngine& engine, std::uint32_t link, const phew::Flow& forward,
             const phew::Flow& backward, const phew::Load& load, double share,
             unsigned num_threads) {
            phew::RateHistogram histogram;
            {
              const py::gil_scoped_release release;
              histogram = engine.count_rates(link, forward, backward, share, load, num_threads);
            }
            return std::make_pair(to_array(histogram.rates), to_array(histogram.numbers));
          },
          exact("link"), exact("forward"), exact("backward"), exact("load"), py::kw_only(),
          exact("share"), exact("num_threads"),
          "Count a link's weights by the expected visits a walk to them, or to their kernels.\n\n"
          "Looks at a share of the weights, and takes the others to be alike. Return the rates "
          "and\n"
          "the numbers of weights.")
      .def(
          "walk",
          [](const phew::WalkEngine& engine, std::uint64_t first_walk, std::uint64_t num_walks,
             std::uint64_t first_listed, const phew::Load& load, phew::Recording recording,
             unsigned num_threads, std::uint32_t batch_size) {
            if (batch_size == 0) throw py::value_error("batch_size must be at least 1, got 0.");
            return engine.walk({first_walk, num_walks, first_listed}, recording, load, num_threads,
                               batch_size);
          },
          exact("first_walk"), exact("num_walks"), exact("first_listed"), exact("load"),
          py::kw_only(), exact("recording"), exact("num_threads"), exact("batch_size"),
          py::call_guard<py::gil_scoped_release>(),
          "Walk and record the visits in the buffers that `load` gives.\n\n"
          "Walks from first_listed on do not mark: return their visits to weights without a mark,\n"
          "possibly several of one weight, also of one that this call marks, in any order.");
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The walk engine.";
  module.attr("__version__") = PHEW_VERSION;
  bind_graph(module);
  module.def(
      "instruction_set", [] { return phew::kernels().name; },
      "The instruction set whose kernels are in use. The environment variable\n"
      "PHEW_INSTRUCTION_SET chooses it when it is first needed.");
  module.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        for (const phew::Kernels* kernels : phew::supported_kernels()) {
          names.emplace_back(kernels->name);
        }
        return names;
      },
      "Those that this processor has, the fastest last.");
  bind_visits(module);
  bind_measures(module);
  bind_engine(module);
}
