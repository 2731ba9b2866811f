"""
The walk engine.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['CudaWalkEngine', 'Flow', 'Graph', 'LinkBuffers', 'LinkMeasure', 'Options', 'RateHistogram', 'Visits', 'WalkEngine', 'WalkRange', 'WeightedLink', 'WiringLink', 'instruction_set', 'instruction_sets']
class WeightedLink:
    """
    As phew.graph.WeightedLink.
    """
    def __init__(self, source: int, target: int, *, shape: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], strides: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], offset: int, shortcut: bool) -> None:
        ...
class WiringLink:
    """
    As phew.graph.WiringLink.
    """
    def __init__(self, source: int, target: int, *, source_groups: numpy.typing.NDArray[numpy.int32], target_groups: numpy.typing.NDArray[numpy.int32], shortcut: bool) -> None:
        ...
class Graph:
    """
    A walk graph, as phew.graph.WalkGraph.
    """
    def __init__(self, live: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.bool]], links: collections.abc.Sequence[WeightedLink | WiringLink], entries: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], exits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
class LinkBuffers:
    """
    Addresses of a link's contiguous parameter and of what is recorded of its visits: a byte a
    weight, or a uint32 to count; 0 to record nothing. Visits that are listed call the first
    weight first_number.
    """
    def __init__(self, weights: int, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], visits: int = 0, first_number: int = 0) -> None:
        ...
class Options:
    """
    As phew.options.Options.
    """
    def __init__(self, *, seed: int, fork: typing.Literal['uniform', 'mass'], granularity: typing.Literal['weight', 'kernel'], power: int) -> None:
        ...
class WalkRange:
    """
    The walks first_walk, first_walk + step, ...; those from first_listed on are listed.
    """
    def __init__(self, first_walk: int, num_walks: int, *, first_listed: int, step: int) -> None:
        ...
class Visits:
    """
    Visit i is of walk `walks[i]` to the weight of number `weights[i]`.
    """
    @property
    def walks(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
    @property
    def weights(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
class LinkMeasure:
    """
    What was measured of a link's weights. Of wiring links nothing.
    """
    @property
    def is_finite(self) -> bool:
        ...
    @property
    def num_zero(self) -> int:
        """
        How many weights are zero.
        """
    @property
    def source_totals(self) -> numpy.typing.NDArray[numpy.uint64]:
        """
        Per source unit, the mass of its edges to live units.
        """
    @property
    def target_totals(self) -> numpy.typing.NDArray[numpy.uint64]:
        """
        Per target unit, the mass of its edges to live units.
        """
class RateHistogram:
    """
    Numbers of weights by how often walks visit them.
    """
    @property
    def numbers(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def rates(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Mean rates, in expected visits a walk.
        """
class Flow:
    """
    Expected passages of a walk of one direction.
    """
    def __getstate__(self) -> tuple[list[numpy.typing.NDArray[numpy.float64]], list[numpy.typing.NDArray[numpy.float64]]]:
        ...
    def __setstate__(self, arg0: tuple[list[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]], list[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]]]) -> None:
        ...
    @property
    def links(self) -> list[numpy.typing.NDArray[numpy.float64]]:
        """
        Per link, the probability that a walk takes it from each unit on its near side.
        """
    @property
    def units(self) -> list[numpy.typing.NDArray[numpy.float64]]:
        """
        Per space, the probability that a walk passes each unit.
        """
class WalkEngine:
    """
    The walks of one graph under one seed and one set of options.
    """
    def __init__(self, graph: Graph, options: Options) -> None:
        ...
    def count_rates(self, links: list[int], forward: Flow, backward: Flow, *, share: float, load: collections.abc.Callable[[int], LinkBuffers], num_threads: int) -> list[RateHistogram]:
        """
        Count the weights of each link by the expected visits a walk to them, or to their
        kernels. Looks at a share of the weights, and takes the others to be alike.
        """
    def flow(self, direction: typing.Literal['forward', 'backward'], load: collections.abc.Callable[[int], LinkBuffers], *, num_threads: int) -> Flow:
        """
        Compute the exact flow, without sampling.
        """
    def measure(self, load: collections.abc.Callable[[int], LinkBuffers], *, num_threads: int) -> list[LinkMeasure]:
        """
        Measure the weights, before all else and whenever they have changed.
        
        Return the measures of each link. If they are finite, the other methods can be called.
        """
    def walk(self, walks: WalkRange, load: collections.abc.Callable[[int], LinkBuffers], *, recording: typing.Literal['mark', 'count'], num_threads: int, batch_size: int) -> Visits:
        """
        Walk and record the visits in the buffers that `load` gives.
        
        Walks from first_listed on do not mark: return their visits to weights without a mark,
        possibly several of one weight, also of one that this call marks, in any order.
        """
class CudaWalkEngine:
    """
    As WalkEngine, on the current CUDA device. Buffers are memory of that device.
    """
    def __init__(self, graph: Graph, options: Options, *, allocate: collections.abc.Callable[[int], int], release: collections.abc.Callable[[int], None], stream: int) -> None:
        ...
    def count_rates(self, links: list[int], forward: Flow, backward: Flow, *, share: float, load: collections.abc.Callable[[int], LinkBuffers]) -> list[RateHistogram]:
        """
        As WalkEngine.count_rates.
        """
    def flow(self, direction: typing.Literal['forward', 'backward'], load: collections.abc.Callable[[int], LinkBuffers]) -> Flow:
        """
        As WalkEngine.flow.
        """
    def measure(self, load: collections.abc.Callable[[int], LinkBuffers]) -> list[LinkMeasure]:
        """
        As WalkEngine.measure.
        """
    def walk(self, walks: WalkRange, load: collections.abc.Callable[[int], LinkBuffers], *, recording: typing.Literal['mark', 'count'], batch_size: int, listed_walks: int, listed_weights: int, capacity: int, num_visits: int) -> None:
        """
        As WalkEngine.walk, but queue the walks and return. Visits are listed in the arrays at
        the addresses `listed_walks` and `listed_weights`, as many as there is room for; all
        are added to the number at the address `num_visits`.
        """
def instruction_set() -> str:
    """
    The instruction set whose kernels are in use. The environment variable
    PHEW_INSTRUCTION_SET chooses it when it is first needed.
    """
def instruction_sets() -> list[str]:
    """
    Those that this processor has, the fastest last.
    """
__version__: str = '0.1.0'
