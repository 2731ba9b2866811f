// These functions tell what the CUDA engine was built for, and whether it can run on a device.
#pragma once

#include <string>
#include <vector>

namespace phew::cuda {

// Returns the version of CUDA, such as "13.0".
std::string version();

// Returns the compute capabilities that there is code for, such as "9.0", in ascending order.
std::vector<std::string> compute_capabilities();

// Returns why the engine cannot run on the current device, or nothing if it can.
std::string obstacle();

}  // namespace phew::cuda
