// Makes walks one after another, edge by edge. The engine must do the same.
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "phew/expectation/flow.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/options.hpp"
#include "phew/walk_engine.hpp"

// The float32 weights of each link's parameter. A wiring link has none.
using Weights = std::vector<std::vector<float>>;

// Walk, link and element.
using Visit = std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>;

// Returns the visits of the walks of a range, sorted.
std::vector<Visit> walk_naively(const phew::Graph& graph, const Weights& weights,
                                const phew::Options& options, phew::WalkRange range);

// Computes the flow by handing it on from unit to unit.
phew::Flow flow_naively(const phew::Graph& graph, const Weights& weights,
                        const phew::Options& options, phew::Direction direction);

// Returns, per link and element, the expected visits per walk. Half of the walks are backward.
std::vector<std::vector<double>> visit_rates_naively(const phew::Graph& graph,
                                                     const Weights& weights,
                                                     const phew::Options& options);
