#include "phew/cuda/support.hpp"

#include <cuda_runtime.h>

namespace phew::cuda {
namespace {

// A kernel that exists for the same devices as those of the engine.
__global__ void probe() {}

std::string dotted(int major, int minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

// Numbers of CUDA and of its driver are, for example, 13000 for 13.0.
std::string dotted_version(int version) { return dotted(version / 1000, version % 1000 / 10); }

std::string driver_version() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version == 0 ? "there is none" : "this one is for CUDA " + dotted_version(version);
}

}  // namespace

std::string version() { return dotted_version(CUDART_VERSION); }

std::vector<std::string> compute_capabilities() {
  std::vector<std::string> found;
  for (const int architecture : {__CUDA_ARCH_LIST__}) {
    found.push_back(dotted(architecture / 100, architecture % 100 / 10));
  }
  return found;
}

std::string obstacle() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, probe);
  if (error == cudaSuccess) return {};
  // Otherwise the next call of the engine would report this error as its own.
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver) {
    return "phew needs a driver for CUDA " + std::to_string(CUDART_VERSION / 1000) +
           " or newer, and " + driver_version();
  }
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
    std::string built_for;
    for (const std::string& capability : compute_capabilities()) built_for += " " + capability;
    return "phew was built for devices of compute capability" + built_for;
  }
  return cudaGetErrorString(error);
}

}  // namespace phew::cuda
