// A flow in the memory of a device, and room for passing it on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "phew/cuda/memory.hpp"
#include "phew/expectation/flow.hpp"
#include "phew/graph/graph.hpp"

namespace phew::cuda {

// A Flow in two arrays, one of all units and one of all links.
class DeviceFlow {
 public:
  DeviceFlow(const Device& device, const Flow& flow)
      : unit_begins_(begins_of(flow.units)),
        link_begins_(begins_of(flow.links)),
        units_(device, concatenate(flow.units)),
        links_(device, concatenate(flow.links)),
        link_begins_on_device_(device, link_begins_) {}

  double* of_space(std::uint32_t space) const { return units_.data() + unit_begins_[space]; }
  double* of_link(std::uint32_t link) const { return links_.data() + link_begins_[link]; }
  double* of_links() const { return links_.data(); }
  // Per link, where its flow begins, in the memory of the device.
  const std::size_t* link_begins() const { return link_begins_on_device_.data(); }

  // Waits until all queued work is done.
  void copy_to(Flow& flow) const {
    split(units_.download(), unit_begins_, flow.units);
    split(links_.download(), link_begins_, flow.links);
  }

 private:
  using Parts = std::vector<Probabilities>;

  static std::vector<std::size_t> begins_of(const Parts& parts) {
    std::vector<std::size_t> begins;
    std::size_t size = 0;
    begins.reserve(parts.size());
    for (const Probabilities& part : parts) {
      begins.push_back(size);
      size += part.size();
    }
    return begins;
  }

  static Probabilities concatenate(const Parts& parts) {
    Probabilities all;
    for (const Probabilities& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }

  static void split(const Probabilities& all, const std::vector<std::size_t>& begins,
                    Parts& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      std::copy_n(all.data() + begins[i], parts[i].size(), parts[i].begin());
    }
  }

  std::vector<std::size_t> unit_begins_;
  std::vector<std::size_t> link_begins_;
  Buffer<double> units_;
  Buffer<double> links_;
  Buffer<std::size_t> link_begins_on_device_;
};

// Room for the shares of the near units of any link, and for the flow of the groups of any wiring.
struct FlowWork {
  Buffer<double> shares;
  Buffer<double> groups;

  FlowWork(const Device& device, const Graph& graph)
      : shares(device, most_units(graph)), groups(device, most_groups(graph)) {}

 private:
  static std::size_t most_units(const Graph& graph) {
    std::size_t most = 0;
    for (const Flags& live : graph.live) most = std::max(most, live.size());
    return most;
  }

  static std::size_t most_groups(const Graph& graph) {
    std::int32_t last = -1;
    for (const Link& link : graph.links) {
      const auto* wiring = std::get_if<WiringLink>(&link);
      if (wiring == nullptr) continue;
      for (const auto* groups : {&wiring->source_groups, &wiring->target_groups}) {
        for (const std::int32_t group : *groups) last = std::max(last, group);
      }
    }
    return static_cast<std::size_t>(last) + 1;
  }
};

}  // namespace phew::cuda
