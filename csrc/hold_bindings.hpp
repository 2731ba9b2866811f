// The loop that holds pruned weights at zero, for bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

void bind_hold(pybind11::module_& module);
