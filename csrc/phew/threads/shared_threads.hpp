// Threads that are shared with the rest of the process.
#pragma once

#include <cstddef>
#include <functional>

namespace phew {

// Calls body(task) once for each task in [0, num_tasks), in any order, and waits for all. If a call
// throws, no further task is begun, and the first exception is thrown again.
//
// The threads are those of the OpenMP runtime that the process has, which torch's own loops use.
// Such threads go on checking for work for some milliseconds after a loop. Other threads beside
// them would compete for the processors meanwhile.
void for_each_task(unsigned num_threads, std::size_t num_tasks,
                   const std::function<void(std::size_t)>& body);

}  // namespace phew
