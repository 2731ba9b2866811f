#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "phew/threads/workers.hpp"

TEST_CASE("every task is done once, whatever the number of threads") {
  for (const unsigned num_threads : {1U, 2U, 3U, 7U}) {
    phew::Workers workers(num_threads);
    CHECK(workers.size() == num_threads);
    for (const std::size_t num_tasks : {0U, 1U, 2U, 100U, 5000U}) {
      std::vector<std::atomic<int>> done(num_tasks);
      std::atomic<bool> known_threads{true};
      workers.for_each(num_tasks, [&](unsigned thread, std::size_t task) {
        if (thread >= num_threads) known_threads = false;
        ++done[task];
      });
      for (const auto& times : done) CHECK(times == 1);
      CHECK(known_threads);
    }
  }
}

TEST_CASE("an exception in a task reaches the caller, and the team works on") {
  for (const unsigned num_threads : {1U, 2U, 7U}) {
    phew::Workers workers(num_threads);
    const auto fail = [](unsigned, std::size_t task) {
      if (task % 10 == 3) throw std::runtime_error("task 3");
    };
    CHECK_THROWS_WITH_AS(workers.for_each(100, fail), "task 3", std::runtime_error);
    std::atomic<int> num_done{0};
    workers.for_each(100, [&](unsigned, std::size_t) { ++num_done; });
    CHECK(num_done == 100);
  }
}

TEST_CASE("threads beyond the most that are asked for take no part") {
  phew::Workers workers(7);
  for (const unsigned most : {1U, 2U, 100U}) {
    std::vector<std::atomic<int>> done(1000);
    std::atomic<bool> known_threads{true};
    workers.for_each(
        done.size(),
        [&](unsigned thread, std::size_t task) {
          if (thread >= most) known_threads = false;
          ++done[task];
        },
        most);
    for (const auto& times : done) CHECK(times == 1);
    CHECK(known_threads);
  }
}
