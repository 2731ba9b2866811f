// Products with sparse weights, for bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

void bind_sparse(pybind11::module_& module);
