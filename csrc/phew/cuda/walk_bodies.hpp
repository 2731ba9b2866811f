// The bodies that build tables and move walkers. Each thread has a walker, which remembers its unit
// and the link by which it leaves the unit. All walkers of a link hop together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "phew/arithmetic/draw.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/cuda/visit_list.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph_view.hpp"
#include "phew/options.hpp"
#include "phew/walks/recording.hpp"

namespace phew::cuda {

// Cumulative masses of the edges of all near units, in entries of eight edges: one byte per weight.
// A walker finds its edge by looking through the eight edges of an entry.
struct TableView {
  static constexpr std::uint32_t kEdgesPerEntry = 8;

  std::uint64_t* cumulative;
  std::size_t num_units;
  std::uint32_t num_entries;
  // Whether the entries of a unit are adjacent, as its weights are, or else the entries of all
  // units.
  bool is_by_unit;

  static std::uint32_t num_entries_of(const EdgeView& edges) {
    return static_cast<std::uint32_t>((edges.num_edges() + kEdgesPerEntry - 1) / kEdgesPerEntry);
  }

  PHEW_HOST_DEVICE std::size_t size() const { return num_units * num_entries; }

  struct Row {
    std::uint64_t* first;
    std::size_t stride;

    PHEW_HOST_DEVICE std::uint64_t& operator[](std::uint32_t entry) const {
      return first[entry * stride];
    }
  };

  PHEW_HOST_DEVICE Row row(std::uint32_t near) const {
    if (is_by_unit) return {cumulative + std::size_t{near} * num_entries, 1};
    return {cumulative + near, num_units};
  }
};

// The masses of the edges of an entry. They are 0 for edges to dead units and beyond the last edge,
// and 1 if all edges of the near unit are zero. No load waits for another.
template <typename MassOf>
struct EntryMasses {
  std::uint32_t masses[TableView::kEdgesPerEntry];

  PHEW_HOST_DEVICE EntryMasses(const EdgeView& edges, const LinkWeights<MassOf>& weights,
                               std::uint32_t near, std::uint32_t entry, bool all_zero) {
    const std::uint32_t first = entry * TableView::kEdgesPerEntry;
    const std::uint32_t num_left = static_cast<std::uint32_t>(edges.num_edges()) - first;
    EdgeCursor edge(edges, near, first);
    if (edges.all_far_live && !all_zero && num_left >= TableView::kEdgesPerEntry &&
        edges.are_evenly_spaced()) {
      const std::int64_t step = edges.num_positions == 1 ? edges.far_stride : edges.position_stride;
      PHEW_UNROLL
      for (std::uint32_t i = 0; i < TableView::kEdgesPerEntry; ++i) {
        masses[i] = weights.mass(edge.element + i * step);
      }
      return;
    }
    const std::uint8_t* far_live = edges.far_live + edges.first_far(near);
    PHEW_UNROLL
    for (std::uint32_t i = 0; i < TableView::kEdgesPerEntry; ++i) {
      const bool has_mass = i < num_left && (edges.all_far_live || far_live[edge.far]);
      masses[i] = !has_mass  ? 0
                  : all_zero ? static_cast<std::uint32_t>(weights.is_edge(edge.element))
                             : weights.mass(edge.element);
      edge.move_on(edges);
    }
  }
};

// For each entry of the tables of all near units, in the order of the memory: sums its edges.
template <typename MassOf>
struct SumEntries {
  EdgeView edges;
  LinkWeights<MassOf> weights;
  // The mass of each near unit's edges.
  const std::uint64_t* totals;
  TableView table;

  PHEW_HOST_DEVICE void operator()(std::size_t i) const {
    const std::size_t row_size = table.is_by_unit ? table.num_entries : table.num_units;
    const auto row = static_cast<std::uint32_t>(i / row_size);
    const auto column = static_cast<std::uint32_t>(i % row_size);
    const std::uint32_t near = table.is_by_unit ? row : column;
    const std::uint32_t entry = table.is_by_unit ? column : row;
    const EntryMasses<MassOf> edges_of_entry(edges, weights, near, entry, totals[near] == 0);
    std::uint64_t sum = 0;
    PHEW_UNROLL
    for (const std::uint32_t mass : edges_of_entry.masses) sum += mass;
    table.cumulative[i] = sum;
  }
};

// Turns the entries of tables from sums into cumulative sums. Several threads share a unit. They go
// through its entries tile by tile, and each thread has a few adjacent entries of a tile.
struct AddUpEntries {
  static constexpr std::uint32_t kEntriesPerThread = 4;
  struct Shared {
    std::uint64_t totals[kNumThreads];
    // Per unit the sum of all tiles before this one, for tiles of even and of odd number.
    std::uint64_t carries[2][kNumThreads];
  };

  TableView table;
  unsigned units_per_block = kNumThreads;

  // A block has so many units that a tile is about as long as their tables are.
  explicit AddUpEntries(const TableView& table_of_link) : table(table_of_link) {
    // Where the entries of different units are adjacent, several units are best read together.
    const unsigned fewest_units = table.is_by_unit ? 2 : 8;
    while (units_per_block > fewest_units && entries_per_tile() < table.num_entries) {
      units_per_block /= 2;
    }
  }

  std::size_t num_blocks() const {
    return (table.num_units + units_per_block - 1) / units_per_block;
  }

  PHEW_HOST_DEVICE unsigned num_phases() const {
    return 2 * ((table.num_entries + entries_per_tile() - 1) / entries_per_tile());
  }

  PHEW_HOST_DEVICE void operator()(unsigned phase, unsigned thread, std::size_t block,
                                   Shared& shared) const {
    const unsigned unit_of_block = thread % units_per_block;
    const std::size_t unit = block * units_per_block + unit_of_block;
    if (unit >= table.num_units) return;
    const TableView::Row row = table.row(static_cast<std::uint32_t>(unit));
    const unsigned tile = phase / 2;
    const std::uint32_t first =
        tile * entries_per_tile() + thread / units_per_block * kEntriesPerThread;
    std::uint64_t sums[kEntriesPerThread];
    std::uint64_t total = 0;
    PHEW_UNROLL
    for (std::uint32_t i = 0; i < kEntriesPerThread; ++i) {
      sums[i] = first + i < table.num_entries ? row[first + i] : 0;
      total += sums[i];
    }
    if (phase % 2 == 0) {
      shared.totals[thread] = total;
      return;
    }
    std::uint64_t before = tile == 0 ? 0 : shared.carries[tile % 2][unit_of_block];
    for (unsigned i = unit_of_block; i < thread; i += units_per_block) before += shared.totals[i];
    if (thread + units_per_block >= kNumThreads) {
      shared.carries[(tile + 1) % 2][unit_of_block] = before + total;
    }
    PHEW_UNROLL
    for (std::uint32_t i = 0; i < kEntriesPerThread; ++i) {
      before += sums[i];
      if (first + i < table.num_entries) row[first + i] = before;
    }
  }

 private:
  PHEW_HOST_DEVICE std::uint32_t entries_per_tile() const {
    return kNumThreads / units_per_block * kEntriesPerThread;
  }
};

// The walkers of a batch.
struct Walkers {
  // The unit that each of them stands on, and the link that it takes from there.
  std::uint32_t* units;
  std::uint32_t* links;
  std::uint32_t num;
  PhiloxKey key;
  // Walker n is on walk first_walk + 2 n.
  std::uint64_t first_walk;

  PHEW_HOST_DEVICE std::uint64_t walk(std::uint32_t walker) const {
    return first_walk + 2 * std::uint64_t{walker};
  }
};

// The link of a walker at the end of its walk.
constexpr std::uint32_t kNoLink = ~std::uint32_t{0};

// A space that walkers arrive in. The links of the fork are indices of the graph's links.
struct ArrivalSpace {
  std::uint32_t index;
  ForkView fork;

  // Puts a walker on a unit, where it draws its next link.
  PHEW_HOST_DEVICE void arrive(const Walkers& walkers, std::uint32_t walker,
                               std::uint32_t unit) const {
    walkers.units[walker] = unit;
    const std::uint32_t begin = fork.begin[unit];
    const std::uint32_t num_links = fork.num_links(unit);
    if (num_links == 0) {
      walkers.links[walker] = kNoLink;
      return;
    }
    std::uint32_t choice = 0;
    if (num_links > 1) {
      const std::uint64_t* cumulative = fork.cumulative + begin;
      choice = first_above(cumulative, num_links,
                           draw(walkers.key, walkers.walk(walker), index, Purpose::kFork,
                                cumulative[num_links - 1]));
    }
    walkers.links[walker] = fork.links[begin + choice];
  }
};

// Puts each walker on the unit that it starts on.
struct PlaceWalkers {
  Walkers walkers;
  const Start* starts;
  std::size_t num_starts;
  // Indexed by space.
  const ForkView* forks;

  PHEW_HOST_DEVICE void operator()(std::size_t walker) const {
    const Start start = starts[(walkers.first_walk / 2 + walker) % num_starts];
    ArrivalSpace{start.space, forks[start.space]}.arrive(
        walkers, static_cast<std::uint32_t>(walker), start.unit);
  }
};

// Lists visits, as far as there is room.
struct VisitLister {
  VisitList list;

  PHEW_HOST_DEVICE void add(std::uint64_t walk, std::uint64_t weight) const {
    const std::uint64_t i = atomic_add(list.num_visits, std::uint64_t{1});
    if (i >= list.capacity) return;
    list.walks[i] = walk;
    list.weights[i] = weight;
  }
};

// Records the visits to a link's weights, by the policy that is chosen at run time.
struct VisitRecorder {
  Recording recording;
  // Null to record nothing.
  void* visits;
  std::uint64_t first_number;
  std::uint64_t first_listed;
  VisitLister lister;

  PHEW_HOST_DEVICE void operator()(std::uint64_t walk, std::int64_t element) const {
    if (recording == Recording::kCount) {
      CountVisits{static_cast<std::uint32_t*>(visits)}(walk, element);
    } else {
      MarkVisits<const VisitLister>{static_cast<std::uint8_t*>(visits), first_listed, first_number,
                                    &lister, /*is_shared=*/true}(walk, element);
    }
  }
};

// Lets each walker that takes this weighted link hop over it.
template <typename MassOf>
struct HopEdges {
  Walkers walkers;
  std::uint32_t link;
  EdgeView edges;
  LinkWeights<MassOf> weights;
  const std::uint64_t* totals;
  TableView table;
  Granularity granularity;
  VisitRecorder recorder;
  ArrivalSpace far_space;
  // Is set to one more than this link if its weights are not those that were measured.
  std::uint64_t* changed_link;

  PHEW_HOST_DEVICE void operator()(std::size_t index) const {
    if (walkers.links[index] != link) return;
    const auto walker = static_cast<std::uint32_t>(index);
    const std::uint32_t near = walkers.units[walker];
    const EdgeCursor edge(edges, near, find_edge(near, walkers.walk(walker)));
    if (recorder.visits != nullptr) record_visits(walkers.walk(walker), edge);
    far_space.arrive(walkers, walker, edges.first_far(near) + edge.far);
  }

 private:
  PHEW_HOST_DEVICE std::uint32_t find_edge(std::uint32_t near, std::uint64_t walk) const {
    const TableView::Row cumulative = table.row(near);
    const std::uint64_t total = cumulative[table.num_entries - 1];
    const bool all_zero = totals[near] == 0;
    if (!all_zero && totals[near] != total) *changed_link = std::uint64_t{link} + 1;
    const std::uint64_t drawn = draw(walkers.key, walk, link, Purpose::kEdge, total);
    const std::uint32_t entry = first_above(cumulative, table.num_entries, drawn);
    const std::uint64_t before = entry == 0 ? 0 : cumulative[entry - 1];
    const EntryMasses<MassOf> edges_of_entry(edges, weights, near, entry, all_zero);
    const std::uint32_t edge =
        entry * TableView::kEdgesPerEntry +
        first_above_sum(edges_of_entry.masses, TableView::kEdgesPerEntry, drawn - before);
    // Weights that change between the sums and this may leave no edge above the draw.
    const auto last = static_cast<std::uint32_t>(edges.num_edges() - 1);
    return edge < last ? edge : last;
  }

  PHEW_HOST_DEVICE void record_visits(std::uint64_t walk, const EdgeCursor& edge) const {
    if (granularity == Granularity::kWeight) return recorder(walk, edge.element);
    const std::int64_t kernel = edge.element - edge.position * edges.position_stride;
    for (std::uint32_t k = 0; k < edges.num_positions; ++k) {
      const std::int64_t element = kernel + k * edges.position_stride;
      if (weights.is_edge(element)) recorder(walk, element);
    }
  }
};

// Lets each walker that takes this wiring link hop over it.
struct HopWiring {
  Walkers walkers;
  std::uint32_t link;
  WiringView wiring;
  ArrivalSpace far_space;

  PHEW_HOST_DEVICE void operator()(std::size_t index) const {
    if (walkers.links[index] != link) return;
    const auto walker = static_cast<std::uint32_t>(index);
    const std::int32_t group = wiring.near_groups[walkers.units[walker]];
    const std::uint32_t begin = wiring.begin[group];
    const std::uint32_t num_members = wiring.num_members(static_cast<std::size_t>(group));
    std::uint64_t choice = 0;
    if (num_members > 1) {
      choice = draw(walkers.key, walkers.walk(walker), link, Purpose::kEdge, num_members);
    }
    far_space.arrive(walkers, walker, wiring.members[begin + choice]);
  }
};

}  // namespace phew::cuda
