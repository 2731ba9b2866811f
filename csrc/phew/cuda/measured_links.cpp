#include "phew/cuda/measured_links.hpp"

#include <algorithm>

#include "phew/arithmetic/extremes.hpp"
#include "phew/arithmetic/mass.hpp"
#include "phew/cuda/launch.hpp"
#include "phew/cuda/link_weights.hpp"
#include "phew/cuda/measure_bodies.hpp"
#include "phew/weights/weight_rows.hpp"

namespace phew::cuda {

RowEdges MeasuredLinks::by_rows(std::uint32_t link) const {
  const WeightedLink& of_weights = weighted(link);
  const bool rows_are_targets = WeightRows(of_weights, {}).rows_are_targets();
  EdgeView edges =
      view_edges(graph_, of_weights, rows_are_targets ? Direction::kBackward : Direction::kForward);
  edges.far_live = live_.of(rows_are_targets ? of_weights.source : of_weights.target);
  return {edges, live_.of(rows_are_targets ? of_weights.target : of_weights.source)};
}

bool MeasuredLinks::measure(const Load& load) {
  std::vector<std::uint32_t> links;
  for (std::uint32_t link = 0; link < graph_.links.size(); ++link) {
    if (std::holds_alternative<WeightedLink>(graph_.links[link])) links.push_back(link);
  }
  measures_.assign(graph_.links.size(), {});
  measure_ranges(links, load);
  const bool all_finite = std::all_of(measures_.begin(), measures_.end(),
                                      [](const auto& measure) { return measure.range.is_finite; });
  if (!all_finite) return false;
  sum_totals(links, load);
  copy_totals(links);
  return true;
}

void MeasuredLinks::measure_ranges(const std::vector<std::uint32_t>& links, const Load& load) {
  Buffer<Extremes> extremes(device_, std::vector<Extremes>(links.size()));
  std::vector<DType> dtypes;
  for (std::size_t i = 0; i < links.size(); ++i) {
    const LinkBuffers buffers = load(links[i]);
    dtypes.push_back(buffers.dtype);
    with_format(buffers.dtype, [&](auto format) {
      using Format = decltype(format);
      const MeasureMagnitudes<Format> body{
          by_rows(links[i]).edges, static_cast<const typename Format::Bits*>(buffers.weights),
          extremes.data() + i};
      launch(device_, body.num_blocks(), body);
    });
  }
  const std::vector<Extremes> found = extremes.download();
  for (std::size_t i = 0; i < links.size(); ++i) {
    LinkMeasure& measure = measures_[links[i]];
    measure.range = make_range(found[i], dtypes[i]);
    if (!measure.range.is_finite) continue;
    measure.scale = make_mass_scale(measure.range.smallest, measure.range.largest, power_);
  }
}

void MeasuredLinks::sum_totals(const std::vector<std::uint32_t>& links, const Load& load) {
  totals_of_link_.assign(graph_.links.size(), {});
  std::size_t size = 0;
  for (const std::uint32_t link : links) {
    totals_of_link_[link].sources = size;
    size += graph_.live[weighted(link).source].size();
    totals_of_link_[link].targets = size;
    size += graph_.live[weighted(link).target].size();
  }
  totals_ = std::make_unique<Buffer<std::uint64_t>>(device_, size);
  totals_->clear();
  for (const std::uint32_t link : links) {
    const LinkBuffers buffers = load(link);
    const RowEdges rows = by_rows(link);
    std::uint64_t* sources = totals_->data() + totals_of_link_[link].sources;
    std::uint64_t* targets = totals_->data() + totals_of_link_[link].targets;
    const SumEdges sums =
        rows.edges.near_is_target ? SumEdges{targets, sources} : SumEdges{sources, targets};
    with_weights(buffers, measures_[link].scale, power_, [&](const auto& weights) {
      launch_add_masses(device_, rows.edges, rows.live_rows, weights, sums);
    });
  }
}

void MeasuredLinks::copy_totals(const std::vector<std::uint32_t>& links) {
  const std::vector<std::uint64_t> found = totals_->download();
  for (const std::uint32_t link : links) {
    const auto [sources, targets] = totals_of_link_[link];
    const auto* begin = found.data();
    EdgeTotals& totals = measures_[link].totals;
    totals.sources.assign(begin + sources, begin + targets);
    totals.targets.assign(begin + targets,
                          begin + targets + graph_.live[weighted(link).target].size());
  }
}

}  // namespace phew::cuda
