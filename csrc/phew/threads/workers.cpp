#include "phew/threads/workers.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace phew {

namespace {

// So many checks take some 50 microseconds, as long as it takes to wake a thread.
constexpr int kNumChecks = 4000;

template <typename Condition>
void spin_until(const Condition& is_met, int num_checks) {
  for (int i = 0; i < num_checks && !is_met(); ++i) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
}

}  // namespace

// The other threads are nearly always about to be ready, so it is worth checking before sleeping.
// It is not where there are fewer processors than threads: checking then keeps others from getting
// ready.
Workers::Workers(unsigned num_threads)
    : num_checks_(num_threads <= std::thread::hardware_concurrency() ? kNumChecks : 0) {
  try {
    for (unsigned thread = 1; thread < num_threads; ++thread) {
      threads_.emplace_back(&Workers::work, this, thread);
    }
  } catch (const std::system_error& error) {
    const std::size_t num_started = threads_.size() + 1;
    stop();
    throw std::runtime_error("num_threads must be as many as the system can start, got " +
                             std::to_string(num_threads) + ": it started " +
                             std::to_string(num_started) + " (" + error.what() + "). Give fewer.");
  } catch (...) {
    stop();
    throw;
  }
}

Workers::~Workers() { stop(); }

void Workers::stop() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  job_given_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::run(const Job& job) {
  {
    const std::scoped_lock lock(mutex_);
    job_ = &job;
    ++num_jobs_;
    num_busy_ = threads_.size();
  }
  job_given_.notify_all();
  try_job(0);
  spin_until([&] { return num_busy_ == 0; }, num_checks_);
  {
    std::unique_lock lock(mutex_);
    job_done_.wait(lock, [&] { return num_busy_ == 0; });
  }
  failed_ = false;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Workers::work(unsigned thread) noexcept {
  // The first use of exceptions in a thread allocates what it needs, and ends the process if it
  // cannot. Once memory is short it is too late, because then the exception is std::bad_alloc.
  (void)std::uncaught_exceptions();
  std::unique_lock lock(mutex_);
  for (std::uint64_t num_seen = 0;;) {
    lock.unlock();
    spin_until([&] { return stopping_ || num_jobs_ != num_seen; }, num_checks_);
    lock.lock();
    job_given_.wait(lock, [&] { return stopping_ || num_jobs_ != num_seen; });
    if (stopping_) return;
    num_seen = num_jobs_;
    lock.unlock();
    try_job(thread);
    lock.lock();
    if (--num_busy_ == 0) job_done_.notify_one();
  }
}

void Workers::try_job(unsigned thread) noexcept {
  try {
    (*job_)(thread);
  } catch (...) {
    failed_ = true;
    const std::scoped_lock lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

}  // namespace phew
