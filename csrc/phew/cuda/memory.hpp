// Memory of a device. It is the host's if a C++ compiler compiles this instead of nvcc.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "phew/cuda/device.hpp"

namespace phew::cuda {

#ifdef __CUDACC__

inline void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error) + ".");
}

// The host's memory may be released at once: CUDA copies it first, because it is not pinned.
inline void copy_to_device(const Device& device, void* to, const void* from, std::size_t size) {
  check(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice,
                        static_cast<cudaStream_t>(device.stream)));
}

// Waits until all queued work is done.
inline void copy_to_host(const Device& device, void* to, const void* from, std::size_t size) {
  const auto stream = static_cast<cudaStream_t>(device.stream);
  check(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, stream));
  check(cudaStreamSynchronize(stream));
}

inline void clear(const Device& device, void* memory, std::size_t size) {
  check(cudaMemsetAsync(memory, 0, size, static_cast<cudaStream_t>(device.stream)));
}

#else

inline void copy_to_device(const Device& /*device*/, void* to, const void* from, std::size_t size) {
  // Unlike std::memcpy, allows null where there is nothing.
  std::copy_n(static_cast<const char*>(from), size, static_cast<char*>(to));
}

inline void copy_to_host(const Device& /*device*/, void* to, const void* from, std::size_t size) {
  std::copy_n(static_cast<const char*>(from), size, static_cast<char*>(to));
}

inline void clear(const Device& /*device*/, void* memory, std::size_t size) {
  std::memset(memory, 0, size);
}

#endif

// Memory of the device, which must outlive it.
template <typename Element>
class Buffer {
 public:
  // The memory is not initialised.
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

  // Waits until all queued work is done.
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

// Arrays that are copied to the device together.
class PackedArrays {
 public:
  // Returns where the array will begin.
  template <typename Element>
  std::size_t add(const std::vector<Element>& values) {
    constexpr std::size_t kAlignment = 16;
    const std::size_t begin = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(begin + values.size() * sizeof(Element));
    if (!values.empty()) {
      std::memcpy(bytes_.data() + begin, values.data(), values.size() * sizeof(Element));
    }
    return begin;
  }

  void copy_to(const Device& device) {
    memory_ = std::make_unique<Buffer<std::byte>>(device, bytes_);
    bytes_ = {};
  }

  // Returns the array that begins there, once all are copied.
  template <typename Element>
  const Element* at(std::size_t begin) const {
    return reinterpret_cast<const Element*>(memory_->data() + begin);
  }

 private:
  std::vector<std::byte> bytes_;
  std::unique_ptr<Buffer<std::byte>> memory_;
};

}  // namespace phew::cuda
