// What the engine is told of the device that it is to run on.
#pragma once

#include <cstddef>
#include <functional>

namespace phew::cuda {

// Memory is asked for as it is needed, so that whoever owns the device's memory can tell who uses
// it. It may be given to others at once when it is released, for use on the same stream.
struct Device {
  std::function<void*(std::size_t size)> allocate;
  std::function<void(void*)> release;
  // A cudaStream_t, on which all work is queued.
  void* stream;
};

}  // namespace phew::cuda
