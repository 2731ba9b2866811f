#include "phew/threads/shared_threads.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

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
  std::atomic<std::size_t> next;
  std::once_flag has_failed;
  std::exception_ptr failure;

  // No exception may leave a parallel region.
  void run() noexcept {
    try {
      for (std::size_t task = 0; (task = next.fetch_add(1)) < num_tasks;) body(task);
    } catch (...) {
      next.store(num_tasks);
      std::call_once(has_failed, [&] { failure = std::current_exception(); });
    }
  }
};

}  // namespace

void for_each_task(unsigned num_threads, std::size_t num_tasks,
                   const std::function<void(std::size_t)>& body) {
  num_threads = static_cast<unsigned>(std::min<std::size_t>(num_threads, num_tasks));
  if (num_threads <= 1) {
    for (std::size_t task = 0; task < num_tasks; ++task) body(task);
    return;
  }
  static const ParallelRegion parallel_region = find_parallel_region();
  if (parallel_region == nullptr) {
    Workers(num_threads).for_each(num_tasks, [&](unsigned, std::size_t task) { body(task); });
    return;
  }
  SharedLoop loop{num_tasks, body, {}, {}, {}};
  parallel_region([](void* data) { static_cast<SharedLoop*>(data)->run(); }, &loop, num_threads, 0);
  if (loop.failure != nullptr) std::rethrow_exception(loop.failure);
}

}  // namespace phew
