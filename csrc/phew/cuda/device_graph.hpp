// A walk graph in the memory of a device: live flags, forks and wirings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "phew/cuda/memory.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/graph/graph_view.hpp"

namespace phew::cuda {

// The live flags of all spaces.
class LiveUnits {
 public:
  LiveUnits(const Device& device, const Graph& graph) {
    for (const Flags& flags : graph.live) begins_.push_back(arrays_.add(flags));
    arrays_.copy_to(device);
  }

  const std::uint8_t* of(std::uint32_t space) const {
    return arrays_.at<std::uint8_t>(begins_[space]);
  }

 private:
  PackedArrays arrays_;
  std::vector<std::size_t> begins_;
};

// The parts of a graph that walkers of one direction read, beside weights. The links of its forks
// are indices of the graph's links.
class DeviceGraph {
 public:
  DeviceGraph(const Device& device, const DirectedGraph& graph, std::size_t num_links) {
    struct Begins {
      std::size_t first, second, third;
    };
    std::vector<Begins> fork_begins;
    std::vector<Begins> wiring_begins(num_links);
    for (const DirectedSpace& space : graph.spaces) {
      std::vector<std::uint32_t> links = space.fork->links;
      for (std::uint32_t& link : links) link = space.links[link].index;
      fork_begins.push_back({arrays_.add(space.fork->begin), arrays_.add(links),
                             arrays_.add(space.fork->cumulative)});
      for (const DirectedLink& link : space.links) {
        const Wiring* wiring = link.wiring();
        if (wiring == nullptr) continue;
        wiring_begins[link.index] = {arrays_.add(wiring->near_groups), arrays_.add(wiring->begin),
                                     arrays_.add(wiring->members)};
      }
    }
    const std::size_t starts = arrays_.add(graph.starts);
    arrays_.copy_to(device);
    for (const auto& [begin, links, cumulative] : fork_begins) {
      forks_.push_back({arrays_.at<std::uint32_t>(begin), arrays_.at<std::uint32_t>(links),
                        arrays_.at<std::uint64_t>(cumulative)});
    }
    for (const auto& [near_groups, begin, members] : wiring_begins) {
      wirings_.push_back({arrays_.at<std::int32_t>(near_groups), arrays_.at<std::uint32_t>(begin),
                          arrays_.at<std::uint32_t>(members)});
    }
    starts_ = arrays_.at<Start>(starts);
    forks_on_device_ = std::make_unique<Buffer<ForkView>>(device, forks_);
  }

  const Start* starts() const { return starts_; }
  // The fork of a space, and all forks in the memory of the device.
  const ForkView& fork(std::uint32_t space) const { return forks_[space]; }
  const ForkView* forks() const { return forks_on_device_->data(); }
  // The wiring of a wiring link.
  const WiringView& wiring(std::uint32_t link) const { return wirings_[link]; }

 private:
  PackedArrays arrays_;
  std::vector<ForkView> forks_;
  std::vector<WiringView> wirings_;
  const Start* starts_ = nullptr;
  std::unique_ptr<Buffer<ForkView>> forks_on_device_;
};

}  // namespace phew::cuda
