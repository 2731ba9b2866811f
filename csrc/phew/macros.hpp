#pragma once

// Marks what both the CPU and the GPU run, so that g++ and nvcc compile the same headers.
#ifdef __CUDACC__
#define PHEW_HOST_DEVICE __host__ __device__
#else
#define PHEW_HOST_DEVICE
#endif
