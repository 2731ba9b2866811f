#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "phew/threads/shared_threads.hpp"

TEST_CASE("every task is done once by shared threads, whatever their number") {
  for (const unsigned num_threads : {0U, 1U, 2U, 3U, 7U}) {
    for (const std::size_t num_tasks : {0U, 1U, 2U, 100U, 5000U}) {
      std::vector<std::atomic<int>> done(num_tasks);
      phew::for_each_task(num_threads, num_tasks, [&](std::size_t task) { ++done[task]; });
      for (const auto& times : done) CHECK(times == 1);
    }
  }
}

TEST_CASE("the first exception of a task is thrown to the caller") {
  for (const unsigned num_threads : {1U, 2U, 7U}) {
    const auto fail = [](std::size_t task) {
      if (task >= 3) throw std::runtime_error("task failed");
    };
    CHECK_THROWS_WITH(phew::for_each_task(num_threads, 100, fail), "task failed");
    std::atomic<int> num_done{0};
    phew::for_each_task(num_threads, 100, [&](std::size_t) { ++num_done; });
    CHECK(num_done == 100);
  }
}
