#include "phew/threads/shared_threads.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>

#include "phew/threads/workers.hpp"

namespace phew {

namespace {

// The function by which compilers start a parallel region of OpenMP: it calls function(data) on
// each of num_threads threads, the caller among them, and waits for all.
using ParallelRegion = void (*)(void (*function)(void*), void* data, unsigned num_threads,
                                unsigned flags);

ParallelRegion find_parallel_region() {
  return reinterpret_cast<ParallelRegion>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
}

struct SharedLoop {
  std::size_t num_tasks;
  const std::function<void(std::size_t)>& body;
  std::atomic<std::size_t> next{0};

  void run() noexcept {
    for (std::size_t task = 0; (task = next.fetch_add(1)) < num_tasks;) body(task);
  }
};

}  // namespace

void for_each_task(unsigned num_threads, std::size_t num_tasks,
                   const std::function<void(std::size_t)>& body) {
  num_threads = static_cast<unsigned>(std::min<std::size_t>(num_threads, num_tasks));
  SharedLoop loop{num_tasks, body};
  if (num_threads <= 1) return loop.run();
  static const ParallelRegion parallel_region = find_parallel_region();
  if (parallel_region != nullptr) {
    parallel_region([](void* data) { static_cast<SharedLoop*>(data)->run(); }, &loop, num_threads,
                    0);
  } else {
    Workers(num_threads).for_each(num_tasks, [&](unsigned, std::size_t task) { body(task); });
  }
}

}  // namespace phew
