// Runs bodies on the device. If a C++ compiler compiles this instead of nvcc, the device is
// emulated: bodies run on the host, block by block, phase by phase, thread by thread.
//
// A body consists of phases. All threads of a block finish a phase before the next begins, and they
// have memory that they share.
//
//   struct Body {
//     struct Shared { ... };
//     unsigned num_phases() const;
//     void operator()(unsigned phase, unsigned thread, std::size_t block, Shared& shared) const;
//   };
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "phew/arithmetic/macros.hpp"
#include "phew/cuda/device.hpp"
#include "phew/cuda/memory.hpp"

namespace phew::cuda {

constexpr unsigned kNumThreads = 256;

#ifdef __CUDACC__

template <typename Body>
__global__ void __launch_bounds__(kNumThreads) run(const Body body) {
  __shared__ typename Body::Shared shared;
  PHEW_UNROLL
  for (unsigned phase = 0; phase < body.num_phases(); ++phase) {
    if (phase > 0) __syncthreads();
    body(phase, threadIdx.x, blockIdx.x, shared);
  }
}

template <typename Body>
void launch(const Device& device, std::size_t num_blocks, const Body& body) {
  if (num_blocks == 0) return;
  run<<<static_cast<unsigned>(num_blocks), kNumThreads, 0,
        static_cast<cudaStream_t>(device.stream)>>>(body);
  check(cudaGetLastError());
}

#else

template <typename Body>
void launch(const Device& /*device*/, std::size_t num_blocks, const Body& body) {
  const auto shared = std::make_unique<typename Body::Shared>();
  for (std::size_t block = 0; block < num_blocks; ++block) {
    for (unsigned phase = 0; phase < body.num_phases(); ++phase) {
      for (unsigned thread = 0; thread < kNumThreads; ++thread) body(phase, thread, block, *shared);
    }
  }
}

#endif

// The body of threads that do not depend on each other: calls function(i) for each i below size.
template <typename Function>
struct ForEach {
  struct Shared {};
  PHEW_HOST_DEVICE static constexpr unsigned num_phases() { return 1; }

  std::size_t size;
  Function function;

  PHEW_HOST_DEVICE void operator()(unsigned /*phase*/, unsigned thread, std::size_t block,
                                   Shared& /*shared*/) const {
    const std::size_t i = block * kNumThreads + thread;
    if (i < size) function(i);
  }
};

template <typename Function>
void launch_for_each(const Device& device, std::size_t size, const Function& function) {
  launch(device, (size + kNumThreads - 1) / kNumThreads, ForEach<Function>{size, function});
}

// Adds to a number that other threads add to at the same time. Returns its value before.
template <typename Number>
PHEW_HOST_DEVICE inline Number atomic_add(Number* to, Number value) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(Number) == 8 && !std::is_same_v<Number, double>) {
    return atomicAdd(reinterpret_cast<unsigned long long*>(to), value);
  } else {
    return atomicAdd(to, value);
  }
#else
  const Number before = *to;
  *to += value;
  return before;
#endif
}

PHEW_HOST_DEVICE inline void atomic_max(std::uint64_t* to, std::uint64_t value) {
#ifdef __CUDA_ARCH__
  atomicMax(reinterpret_cast<unsigned long long*>(to), value);
#else
  *to = value > *to ? value : *to;
#endif
}

PHEW_HOST_DEVICE inline void atomic_min(std::uint64_t* to, std::uint64_t value) {
#ifdef __CUDA_ARCH__
  atomicMin(reinterpret_cast<unsigned long long*>(to), value);
#else
  *to = value < *to ? value : *to;
#endif
}

}  // namespace phew::cuda
