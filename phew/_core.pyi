"""
The walk engine.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['CudaWalkEngine', 'Flow', 'Graph', 'LayerShape', 'LinkBuffers', 'LinkMeasure', 'Options', 'RateHistogram', 'SparseMatrix', 'Visits', 'WalkEngine', 'WalkRange', 'WeightedLink', 'WeightsChangedError', 'WiringLink', 'cuda_capabilities', 'cuda_obstacle', 'cuda_version', 'expand', 'gather', 'instruction_set', 'instruction_sets', 'sampled_product', 'sparse_product', 'transposed_product', 'zero_pruned']
class WeightsChangedError(RuntimeError):
    pass
class WeightedLink:
    """
    A phew.graph.WeightedLink for the engine.
    """
    def __init__(self, source: int, target: int, *, shape: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], strides: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], offset: int, shortcut: bool, degrees: typing.Annotated[collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.uint32]], "FixedSize(2)"]) -> None:
        ...
class WiringLink:
    """
    A phew.graph.WiringLink for the engine.
    """
    def __init__(self, source: int, target: int, *, source_groups: numpy.typing.NDArray[numpy.int32], target_groups: numpy.typing.NDArray[numpy.int32], shortcut: bool) -> None:
        ...
class Graph:
    """
    A phew.graph.WalkGraph for the engine.
    """
    def __init__(self, live: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.bool]], links: collections.abc.Sequence[WeightedLink | WiringLink], entries: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], exits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
class LinkBuffers:
    """
    Addresses of a link's contiguous parameter and of the record of its visits: one byte per
    weight to mark, or one uint32 per weight to count. It is 0 to record nothing.
    Listed visits number weights through all parameters: element e is first_number + e.
    If has_absent is set, weights of -0 are absent edges.
    """
    def __init__(self, weights: int, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], visits: int = 0, first_number: int = 0, has_absent: bool = False) -> None:
        ...
class LayerShape:
    """
    The shape of a linear layer, or of a convolution of up to 3 dimensions, and of its input.
    """
    def __init__(self, num_images: int, in_channels: int, out_channels: int, in_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], groups: int) -> None:
        ...
class SparseMatrix:
    """
    The addresses of a sparse matrix: values, their columns (uint16, or uint32 if these are
    wide), and where each row begins (int64, one more than there are rows).
    """
    def __init__(self, values: int, columns: int, row_starts: int, wide_columns: bool) -> None:
        ...
class Options:
    """
    Options of a walk, checked by Python.
    """
    def __init__(self, *, seed: int, fork: typing.Literal['uniform', 'mass'], granularity: typing.Literal['weight', 'kernel'], power: int) -> None:
        ...
class WalkRange:
    """
    The walks first_walk, first_walk + step, ... The visits of walks from first_listed on are
    listed.
    """
    def __init__(self, first_walk: int, num_walks: int, *, first_listed: int, step: int) -> None:
        ...
class Visits:
    """
    Visit i is a visit of walk `walks[i]` to the weight of number `weights[i]`.
    """
    @property
    def walks(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
    @property
    def weights(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
class LinkMeasure:
    """
    The measures of a link's weights. Those of a wiring link are empty.
    """
    @property
    def is_finite(self) -> bool:
        ...
    @property
    def num_zero(self) -> int:
        """
        The number of weights that are zero.
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
    Numbers of weights by the rate at which walks visit them.
    """
    @property
    def numbers(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Per bin, the number of weights.
        """
    @property
    def rates(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Per bin, the mean rate in expected visits per walk.
        """
class Flow:
    """
    How often a walk of one direction passes each unit.
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
        Count the weights of each link by the expected visits per walk to them or their kernels.
        Only a share of the weights is looked at; the others are taken to be alike.
        """
    def flow(self, direction: typing.Literal['forward', 'backward'], load: collections.abc.Callable[[int], LinkBuffers], *, num_threads: int) -> Flow:
        """
        Compute the exact flow, without sampling.
        """
    def measure(self, load: collections.abc.Callable[[int], LinkBuffers], *, num_threads: int) -> list[LinkMeasure]:
        """
        Measure the weights. Must be called first, and again whenever they have changed.
        
        Return the measures of each link. The other methods can be called if all are finite.
        """
    def walk(self, walks: WalkRange, load: collections.abc.Callable[[int], LinkBuffers], *, recording: typing.Literal['mark', 'count'], num_threads: int, batch_size: int) -> Visits:
        """
        Walk and record the visits in the buffers that `load` returns.
        
        Walks from first_listed on do not mark. Return their visits to weights without a mark, in
        any order. There may be several to one weight, also to a weight that this call marks.
        """
class CudaWalkEngine:
    """
    A WalkEngine on the current CUDA device. Buffers are memory of that device.
    """
    def __init__(self, graph: Graph, options: Options, *, allocate: collections.abc.Callable[[int], int], release: collections.abc.Callable[[int], None], stream: int) -> None:
        ...
    def count_rates(self, links: list[int], forward: Flow, backward: Flow, *, share: float, load: collections.abc.Callable[[int], LinkBuffers]) -> list[RateHistogram]:
        """
        Do what WalkEngine.count_rates does.
        """
    def flow(self, direction: typing.Literal['forward', 'backward'], load: collections.abc.Callable[[int], LinkBuffers]) -> Flow:
        """
        Do what WalkEngine.flow does.
        """
    def measure(self, load: collections.abc.Callable[[int], LinkBuffers]) -> list[LinkMeasure]:
        """
        Do what WalkEngine.measure does.
        """
    def walk(self, walks: WalkRange, load: collections.abc.Callable[[int], LinkBuffers], *, recording: typing.Literal['mark', 'count'], batch_size: int, listed_walks: int, listed_weights: int, capacity: int, num_visits: int, changed_link: int) -> None:
        """
        Do what WalkEngine.walk does, but queue the walks and return at once.
        
        Visits are listed in the arrays at the addresses `listed_walks` and `listed_weights`, up
        to their capacity. The number of all is added to the one at the address `num_visits`.
        Where the weights of a link are not those that were measured, its index plus 1 is put at the
        address `changed_link`.
        """
def cuda_capabilities() -> list[str]:
    """
    The compute capabilities that the engine was built for, in ascending order.
    """
def cuda_obstacle() -> str:
    """
    Why the engine cannot run on the current CUDA device; empty if it can.
    """
def cuda_version() -> str:
    """
    The version of CUDA that the engine was built with, such as "13.0".
    """
def expand(matrix: SparseMatrix, item_size: int, num_rows: int, num_columns: int, dense: int, *, num_threads: int) -> None:
    """
    Write a sparse matrix as a dense one, whose numbers have item_size bytes.
    """
def gather(matrix: SparseMatrix, item_size: int, num_rows: int, num_columns: int, dense: int, values: int, *, num_threads: int) -> None:
    """
    Write the values of a sparse matrix, which are not read, from those of a dense one.
    """
def instruction_set() -> str:
    """
    The instruction set of the loops in use. The environment variable
    PHEW_INSTRUCTION_SET chooses it when it is first needed.
    """
def instruction_sets() -> list[str]:
    """
    The instruction sets that this processor has, the fastest last.
    """
def sampled_product(shape: LayerShape, weight: SparseMatrix, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], out_gradient: int, input: int, weight_gradient: int, *, num_threads: int) -> None:
    """
    Compute the gradient of a layer's kept weights; their values are not read.
    """
def sparse_product(shape: LayerShape, weight: SparseMatrix, bits: int, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], input: int, bias: int, output: int, *, num_threads: int) -> None:
    """
    Apply a layer with a sparse weight, whose mask has these bits. The bias may be 0.
    """
def transposed_product(shape: LayerShape, weight: SparseMatrix, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], out_gradient: int, in_gradient: int, *, num_threads: int) -> None:
    """
    Compute the gradient of a layer's input from that of its output.
    """
def zero_pruned(numbers: int, kept: numpy.typing.NDArray[numpy.uint8], num: int, zeroed: int, item_size: int, *, num_threads: int) -> bool:
    """
    Copy numbers from an address to another, or to the same, those as zeros whose bit in `kept` is
    not set. Return whether any of these was another number.
    """
__version__: str = '0.1.0'
