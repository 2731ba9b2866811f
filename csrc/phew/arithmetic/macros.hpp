#pragma once

// Marks what both the CPU and the GPU run, so that g++ and nvcc compile the same headers. Always
// inline on the CPU: loops.cpp is compiled once for each instruction set, and an out-of-line copy
// made for one must not be linked into code for another.
#ifdef __CUDACC__
#define PHEW_HOST_DEVICE __host__ __device__
#else
#define PHEW_HOST_DEVICE __attribute__((always_inline))
#endif

// Before a loop: has nvcc unroll it for the GPU. What is compiled for the host does not know it.
#ifdef __CUDA_ARCH__
#define PHEW_UNROLL _Pragma("unroll")
#else
#define PHEW_UNROLL
#endif
