#pragma once

// PHEW_HOST_DEVICE marks functions that both the CPU and the GPU run, so that g++ and nvcc compile
// the same headers. On the CPU they are always inline, because loops.cpp is compiled once for each
// instruction set: an out-of-line copy made for one must not be linked into code for another.
#ifdef __CUDACC__
#define PHEW_HOST_DEVICE __host__ __device__
#else
#define PHEW_HOST_DEVICE __attribute__((always_inline))
#endif

// PHEW_UNROLL before a loop makes nvcc unroll it for the GPU. Host compilers do not know the
// pragma.
#ifdef __CUDA_ARCH__
#define PHEW_UNROLL _Pragma("unroll")
#else
#define PHEW_UNROLL
#endif

// PHEW_JOINED(a, b) is ab, whatever macros a and b are.
#define PHEW_JOINED_OF(left, right) left##right
#define PHEW_JOINED(left, right) PHEW_JOINED_OF(left, right)
