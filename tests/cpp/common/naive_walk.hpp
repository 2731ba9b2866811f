// The walks one after another, edge by edge: what the engine must do.
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "phew/expectation/flow.hpp"
#include "phew/graph/directed_graph.hpp"
#include "phew/graph/graph.hpp"
#include "phew/options.hpp"
#include "phew/walk_engine.hpp"

// The float32 weights of each link's parameter; none for a wiring link.
using Weights = std::vector<std::vector<float>>;

// Walk, link and element.
using Visit = std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>;

// The visits of the walks of a range, sorted.
std::vector<Visit> walk_naively(const phew::Graph& graph, const Weights& weights,
                                const phew::Options& options, phew::WalkRange range);

// The flow, handed on from unit to unit.
phew::Flow flow_naively(const phew::Graph& graph, const Weights& weights,
                        const phew::Options& options, phew::Direction direction);

// By link and element, how often a walk is expected to visit: half of walks are backward.
std::vector<std::vector<double>> visit_rates_naively(const phew::Graph& graph,
                                                     const Weights& weights,
                                                     const phew::Options& options);
