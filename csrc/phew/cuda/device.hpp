// The device that the engine runs on, as the engine's caller describes it.
#pragma once

#include <cstddef>
#include <functional>

namespace phew::cuda {

// The engine asks for memory when it needs it, so that the owner of the device's memory knows how
// much is in use. Released memory may be given to others at once, for use on the same stream.
struct Device {
  std::function<void*(std::size_t size)> allocate;
  std::function<void(void*)> release;
  // A cudaStream_t, on which all work is queued.
  void* stream;
};

}  // namespace phew::cuda
