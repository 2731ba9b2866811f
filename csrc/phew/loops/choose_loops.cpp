#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "phew/loops/loops.hpp"

namespace phew {

extern const Loops baseline;
#ifdef PHEW_X86_LOOPS
extern const Loops avx2;
extern const Loops avx512;
#endif

std::vector<const Loops*> supported_loops() {
  std::vector<const Loops*> supported{&baseline};
#ifdef PHEW_X86_LOOPS
  __builtin_cpu_init();
  // The parts of the levels 3 and 4 of x86-64 that compilers make use of here.
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

const Loops& choose_loops() {
  const std::vector<const Loops*> supported = supported_loops();
  const char* wanted = std::getenv("PHEW_INSTRUCTION_SET");  // NOLINT(concurrency-mt-unsafe)
  if (wanted == nullptr || *wanted == '\0') return *supported.back();
  std::string names;
  for (const Loops* loops : supported) {
    if (std::string_view(loops->name) == wanted) return *loops;
    names += (names.empty() ? "" : ", ") + std::string(loops->name);
  }
  throw std::invalid_argument("PHEW_INSTRUCTION_SET must be one of " + names +
                              " on this processor, got " + wanted + ".");
}

}  // namespace

const Loops& loops() {
  static const Loops& chosen = choose_loops();
  return chosen;
}

}  // namespace phew
