// Threads that share the work of one loop after another.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace phew {

// A team of threads, of which the caller is number 0.
class Workers {
 public:
  explicit Workers(unsigned num_threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  unsigned size() const { return static_cast<unsigned>(threads_.size()) + 1; }

  // Calls body(thread, task) once for each task in [0, num_tasks), in any order, and waits for all.
  // The first exception ends the loop and is thrown to the caller. Threads from most_threads on
  // take no part.
  template <typename Body>
  void for_each(std::size_t num_tasks, const Body& body,
                unsigned most_threads = std::numeric_limits<unsigned>::max()) {
    const unsigned num_threads = std::min(most_threads, size());
    // A lone task is not worth waking the others.
    if (num_tasks == 1 || num_threads == 1) {
      for (std::size_t task = 0; task < num_tasks; ++task) body(0, task);
      return;
    }
    const std::size_t chunk =
        std::max<std::size_t>(1, num_tasks / (kChunksPerThread * num_threads));
    std::atomic<std::size_t> next{0};
    run([&](unsigned thread) {
      if (thread >= num_threads) return;
      for (std::size_t begin = 0; !failed_ && (begin = next.fetch_add(chunk)) < num_tasks;) {
        const std::size_t end = std::min(begin + chunk, num_tasks);
        for (std::size_t task = begin; task < end; ++task) body(thread, task);
      }
    });
  }

 private:
  using Job = std::function<void(unsigned)>;

  // There are many chunks per thread, so that the threads finish at about the same time.
  static constexpr std::size_t kChunksPerThread = 64;

  void run(const Job& job);
  void work(unsigned thread) noexcept;
  void try_job(unsigned thread) noexcept;
  void stop() noexcept;

  // A thread checks so often whether it can go on, before it sleeps.
  int num_checks_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable job_given_;
  std::condition_variable job_done_;
  const Job* job_ = nullptr;
  std::atomic<std::uint64_t> num_jobs_{0};
  std::atomic<std::size_t> num_busy_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace phew
