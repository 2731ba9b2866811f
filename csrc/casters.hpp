// The names of enumerators in Python, for bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "phew/arithmetic/mass.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/options.hpp"
#include "phew/walks/recording.hpp"

// Enumerators are strings in Python. The names are in the order of the values.
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
