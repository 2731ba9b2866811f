"""
The walk engine.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['LinkBuffers', 'Visits', 'WalkEngine', 'WeightedLink', 'WiringLink']
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
class LinkBuffers:
    """
    Addresses of a link's contiguous parameter and of what is recorded of its visits: a byte a
    weight, or a uint32 to count; 0 to record nothing.
    """
    def __init__(self, weights: int, dtype: typing.Literal['float64', 'float32', 'float16', 'bfloat16'], visits: int = 0) -> None:
        ...
class Visits:
    """
    Visit i is of walk `walks[i]`, over link `links[i]`, to element
    `elements[i]` of that link's parameter.
    """
    @property
    def elements(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
    @property
    def links(self) -> numpy.typing.NDArray[numpy.uint32]:
        ...
    @property
    def walks(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
class WalkEngine:
    """
    The walks of one graph under one seed and one set of options.
    """
    def __init__(self, live: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.bool]], links: collections.abc.Sequence[WeightedLink | WiringLink], entries: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], exits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], *, seed: int, fork: typing.Literal['uniform', 'mass'], granularity: typing.Literal['weight', 'kernel'], power: int) -> None:
        ...
    def measure(self, load: collections.abc.Callable[[int], LinkBuffers], *, num_threads: int) -> list[bool]:
        """
        Measure the weights, before the first walk and whenever they have changed.
        
        Return one flag a link: whether its weights are finite.
        """
    def walk(self, first_walk: int, num_walks: int, load: collections.abc.Callable[[int], LinkBuffers], *, recording: typing.Literal['mark', 'new', 'count'], num_threads: int, batch_size: int) -> Visits:
        """
        Walk and record the visits in the buffers that `load` gives.
        
        Return the new visits if these are recorded: possibly several of one weight, in any
        order.
        """
__version__: str = '0.1.0'
