"""The walk engines of other packages, each as its documentation says that it is used.

Packages are imported when they are used: any of them may be missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from rivals import alias_walks
from rivals.layered_graph import LayeredGraph, Units

NUM_THREADS = 2

VARIABLES = {
    "DGLBACKEND": "pytorch",
    **{
        f"{library}_NUM_THREADS": f"{NUM_THREADS}"
        for library in ("MKL", "NUMBA", "OMP", "OPENBLAS", "RAYON")
    },
}
"""The environment variables with which engines are imported."""

Walk: TypeAlias = Callable[[Units], Any]
"""A function that walks from each of the given units, and returns the units of all walks: one walk
after another, or one per row of an array."""


@dataclass(frozen=True)
class Peer:
    """An engine.

    Attributes:
        package: The name of its distribution.
        set_up: Makes its graph and tables.
        starts_anywhere: Whether callers cannot choose where walks start. Then they start on all
            units, and may be a few more than were asked for.
    """

    package: str
    set_up: Callable[[LayeredGraph], Walk]
    starts_anywhere: bool = False


def set_up_graph_walker(graph: LayeredGraph) -> Walk:
    import _walker

    # The package's Python makes these arrays from a networkx graph, which would not fit in memory.
    rows, targets = graph.rows.astype(np.uint32), graph.targets(np.uint32)
    data = _normalised(graph)
    return lambda starts: _walker.random_walks(
        rows, targets, data, starts.astype(np.uint32), 1, graph.num_layers + 1
    )


def set_up_csrgraph(graph: LayeredGraph) -> Walk:
    import csrgraph

    walker = csrgraph.csrgraph(_scipy(graph), copy=False, threads=NUM_THREADS)
    return lambda starts: walker.random_walks(walklen=graph.num_layers + 1, start_nodes=starts)


def set_up_igraph(graph: LayeredGraph) -> Walk:
    import igraph

    edges = np.stack([graph.sources(np.int64), graph.targets(np.int64)], axis=1)
    walker = igraph.Graph(
        graph.num_units, edges, directed=True, edge_attrs={"weight": graph.data.tolist()}
    )
    return lambda starts: [
        walker.random_walk(start, graph.num_layers, weights="weight") for start in starts.tolist()
    ]


def set_up_torch_cluster(graph: LayeredGraph) -> Walk:
    import torch_cluster  # noqa: F401  registers the operator

    # The operator is called directly, because the package's function sorts the edges each time.
    rows, targets = torch.from_numpy(graph.rows), torch.from_numpy(graph.targets(np.int64))
    return lambda starts: torch.ops.torch_cluster.random_walk(
        rows, targets, torch.from_numpy(starts), graph.num_layers, 1.0, 1.0
    )[0]


def set_up_dgl(graph: LayeredGraph) -> Walk:
    import dgl

    rows, targets = torch.from_numpy(graph.rows), torch.from_numpy(graph.targets(np.int64))
    walker = dgl.graph(("csr", (rows, targets, torch.empty(0, dtype=torch.int64))))
    walker.edata["weight"] = torch.from_numpy(graph.data)
    return lambda starts: dgl.sampling.random_walk(
        walker, torch.from_numpy(starts), length=graph.num_layers, prob="weight"
    )[0]


def set_up_fastnode2vec(graph: LayeredGraph) -> Walk:
    import fastnode2vec

    edges = (graph.sources(np.int64), graph.targets(np.int64), graph.data)
    walker = fastnode2vec.Graph(
        zip(*(part.tolist() for part in edges), strict=True),
        directed=True,
        weighted=True,
        verbose=False,
    )
    numbers = np.argsort(walker.node_names)
    return lambda starts: [
        walker.generate_random_walk(graph.num_layers + 1, 1.0, 1.0, number)
        for number in numbers[starts].tolist()
    ]


def set_up_cxrandomwalk(graph: LayeredGraph) -> Walk:
    import cxrandomwalk

    edges = np.stack([graph.sources(np.int64), graph.targets(np.int64)], axis=1)
    walker = cxrandomwalk.Agent(graph.num_units, edges, True, graph.data)
    return lambda starts: walker.generateWalks(
        windowSize=graph.num_layers + 1, walksPerNode=_rounds(len(starts), graph.num_units)
    )


def set_up_ensmallen(graph: LayeredGraph) -> Walk:
    import ensmallen
    import pandas

    # It refuses graphs in which walks end, so edges lead from the last layer to the first.
    first, last = np.arange(graph.sizes[-1]) % graph.sizes[0], graph.firsts[-2]
    edges = pandas.DataFrame(
        {
            "subject": np.append(graph.sources(np.int64), np.arange(last, graph.num_units)),
            "object": np.append(graph.targets(np.int64), first),
            "weight": np.append(graph.data, np.ones_like(first, dtype=np.float32)),
        }
    ).astype({"subject": str, "object": str})
    walker = ensmallen.Graph.from_pd(
        directed=True,
        edges_df=edges,
        nodes_df=pandas.DataFrame({"name": np.arange(graph.num_units)}).astype(str),
        node_name_column="name",
        edge_src_column="subject",
        edge_dst_column="object",
        edge_weight_column="weight",
    )
    return lambda starts: walker.complete_walks(
        walk_length=graph.num_layers + 1,
        iterations=_rounds(len(starts), graph.num_units),
        max_neighbours=None,
    )


PEERS = {
    "NumPy alias tables": Peer("numpy", partial(alias_walks.set_up, num_threads=NUM_THREADS)),
    "graph-walker": Peer("graph-walker", set_up_graph_walker),
    "csrgraph": Peer("csrgraph", set_up_csrgraph),
    "igraph": Peer("igraph", set_up_igraph),
    "torch-cluster": Peer("torch-cluster", set_up_torch_cluster),
    "DGL": Peer("dgl", set_up_dgl),
    "fastnode2vec": Peer("fastnode2vec", set_up_fastnode2vec),
    "cxrandomwalk": Peer("cxrandomwalk", set_up_cxrandomwalk, starts_anywhere=True),
    "ensmallen": Peer("ensmallen", set_up_ensmallen, starts_anywhere=True),
}


def as_paths(walks: Any) -> Units:
    """Put walks into the rows of an array, with -1 after the end of each."""
    if isinstance(walks, list):
        columns = itertools.zip_longest(*walks, fillvalue=-1)
        walks = np.array(list(columns)).T
    return np.asarray(walks).astype(np.int64)


def _rounds(num_walks: int, num_units: int) -> int:
    return -(-num_walks // num_units)


def _normalised(graph: LayeredGraph) -> Any:
    data = graph.data.copy()
    for masses in LayeredGraph(graph.sizes, data).layers:
        masses /= masses.sum(axis=1, keepdims=True)
    return data


def _scipy(graph: LayeredGraph) -> Any:
    from scipy import sparse

    shape = (graph.num_units, graph.num_units)
    return sparse.csr_matrix(
        (graph.data, graph.targets(np.int32), graph.rows.astype(np.int32)), shape, copy=False
    )
