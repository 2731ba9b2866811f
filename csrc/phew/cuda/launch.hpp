// Kernels and memory of a device. Compiled by a C++ compiler instead of nvcc, the device is
// emulated: its memory is the host's, and kernels run block by block, thread by thread.
//
// A kernel is a body: phases that the threads of a block go through one after the other, all of
// them finishing one before the next begins, with memory that they share.
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

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "phew/cuda/device.hpp"
#include "phew/macros.hpp"

namespace phew::cuda {

constexpr unsigned kNumThreads = 256;

// Of bodies that share no memory.
struct NothingShared {};

constexpr std::size_t num_blocks_for(std::size_t num_threads) {
  return (num_threads + kNumThreads - 1) / kNumThreads;
}

#ifdef __CUDACC__

inline void check(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

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

inline void copy_to_device(const Device& device, void* to, const void* from, std::size_t size) {
  check(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice,
                        static_cast<cudaStream_t>(device.stream)));
}

// Waits for all that is queued.
inline void copy_to_host(const Device& device, void* to, const void* from, std::size_t size) {
  const auto stream = static_cast<cudaStream_t>(device.stream);
  check(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, stream));
  check(cudaStreamSynchronize(stream));
}

inline void clear(const Device& device, void* memory, std::size_t size) {
  check(cudaMemsetAsync(memory, 0, size, static_cast<cudaStream_t>(device.stream)));
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

inline void copy_to_device(const Device& /*device*/, void* to, const void* from, std::size_t size) {
  std::memcpy(to, from, size);
}

inline void copy_to_host(const Device& /*device*/, void* to, const void* from, std::size_t size) {
  std::memcpy(to, from, size);
}

inline void clear(const Device& /*device*/, void* memory, std::size_t size) {
  std::memset(memory, 0, size);
}

#endif

// Adds to what other threads add to, and returns what was there before.
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

// Memory of the device, which must outlive it.
template <typename Element>
class Buffer {
 public:
  // Not initialised.
  Buffer(const Device& device, std::size_t size)
      : device_(&device),
        size_(size),
        data_(static_cast<Element*>(
            device.allocate(std::max<std::size_t>(size, 1) * sizeof(Element)))) {}

  Buffer(const Device& device, const std::vector<Element>& values) : Buffer(device, values.size()) {
    copy_to_device(device, data_, values.data(), size_ * sizeof(Element));
  }

  Buffer(Buffer&& other) noexcept
      : device_(other.device_), size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&&) = delete;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  ~Buffer() {
    if (data_ != nullptr) device_->release(data_);
  }

  Element* data() const { return data_; }

  void clear() { cuda::clear(*device_, data_, size_ * sizeof(Element)); }

  // Waits for all that is queued.
  std::vector<Element> download() const {
    std::vector<Element> values(size_);
    copy_to_host(*device_, values.data(), data_, size_ * sizeof(Element));
    return values;
  }

 private:
  const Device* device_;
  std::size_t size_;
  Element* data_;
};

}  // namespace phew::cuda
