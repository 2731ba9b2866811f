#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "phew/kernels.hpp"

namespace phew {

extern const Kernels baseline;
#ifdef PHEW_X86_KERNELS
extern const Kernels avx2;
extern const Kernels avx512;
#endif

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> supported{&baseline};
#ifdef PHEW_X86_KERNELS
  __builtin_cpu_init();
  // What the levels 3 and 4 of x86-64 consist of, as far as compilers make use of it here.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
    supported.push_back(&avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      supported.push_back(&avx512);
    }
  }
#endif
  return supported;
}

namespace {

const Kernels& choose_kernels() {
  const std::vector<const Kernels*> supported = supported_kernels();
  const char* wanted = std::getenv("PHEW_INSTRUCTION_SET");  // NOLINT(concurrency-mt-unsafe)
  if (wanted == nullptr || *wanted == '\0') return *supported.back();
  std::string names;
  for (const Kernels* kernels : supported) {
    if (std::string_view(kernels->name) == wanted) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::invalid_argument("PHEW_INSTRUCTION_SET must be one of " + names +
                              " on this processor, got " + wanted + ".");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose_kernels();
  return chosen;
}

}  // namespace phew
