"""The plan of the walks to make next on the way to a number of visited weights.

The forecast says how many walks are needed, give or take its uncertainty. Walks that are surely
needed only mark what they visit, which is cheap. The last ones are listed: each of their visits is
kept with the number of its walk, so that the walk that visits the last missing weight is found.

    60,000 weights are missing; the forecast is 8,000 walks, and may be off by 5 %:

    walk      0 ........................ 7,500 ........ 8,600
              marked                     listed
              (0.95 x 60,000 weights     (up to 1.05 x 60,000
               need 7,500 walks)          need 8,600 walks)

If the listed walks still visit too few weights, they are marked and the next plan goes on from
there. If the marked walks already visit too many, their marks are taken back, and the next plan
marks fewer and lists more.
"""

from __future__ import annotations

from typing import NamedTuple

from phew.walks.forecast import Forecast

LANDING_SIZE = 2**16
"""At most so many walks are listed visit by visit, or `first_listed` if that is more."""


class Plan(NamedTuple):
    """Walks to make next.

    Attributes:
        first_listed: The first walk whose visits are listed.
        end: One more than the last walk.
        lists_many: Whether the listed visits are likely to be more than there are prunable weights.
    """

    first_listed: int
    end: int
    lists_many: bool


def plan_walks(
    forecast: Forecast,
    *,
    num_weights: int,
    visits_per_walk: float,
    num_walks: int,
    missing: int,
    caution: float,
    attempt: int,
) -> Plan:
    """Plan the walks to a number of visited weights.

    Args:
        forecast: The forecast of the weights that count; it is corrected by what has been visited.
        num_weights: The number of prunable weights.
        visits_per_walk: The number of visits to these that a walk is expected to make.
        num_walks: How many walks have been made.
        missing: How many weights more are to be visited.
        caution: The factor by which the forecast's uncertainty is widened.
        attempt: How many plans to the same number of weights have failed.
    """
    tolerance = caution * forecast.uncertainty(missing)
    expected = forecast.expected(num_walks)
    first_listed = num_walks
    if tolerance < 1:
        few = forecast.walks_for(expected + (1 - tolerance) * missing)
        first_listed = max(first_listed, few)
    many = forecast.walks_for(expected + (1 + tolerance) * missing)
    # Each failed attempt is followed by one that lists eight times as many walks, so few attempts
    # are needed even if the forecast is badly wrong.
    num_listed = 8**attempt * max(1, many + 1 - first_listed)
    # After n walks an unmarked weight has a rate below about 1/n, so n more walks list it about
    # once. At most n walks are listed, so that the list stays shorter than the weights.
    num_listed = min(num_listed, max(first_listed, LANDING_SIZE))
    lists_many = visits_per_walk * num_listed > num_weights
    return Plan(first_listed, first_listed + num_listed, lists_many)


def own_walks(walks: range, *, rank: int, num_ranks: int, both_directions: bool) -> list[range]:
    """Return the walks that one of several ranks makes.

    Three ranks divide the walks 0 .. 11 into 0-3, 4-7 and 8-11. If each is to walk in one direction
    where it can, they make 0 2 4 6 (all forward), 8 10 1 3, and 5 7 9 11 (all backward).

    Args:
        walks: The walks of all ranks, one apart.
        rank: The rank, in [0, num_ranks).
        num_ranks: How many ranks share the walks.
        both_directions: Whether each rank makes walks of both directions. Otherwise a rank makes
            walks of one direction; if the number of ranks is odd, the rank in the middle makes
            some of both.
    """
    begin, end = (-(-len(walks) * number // num_ranks) for number in (rank, rank + 1))
    if both_directions or num_ranks == 1:
        return [walks[begin:end]]
    first, second = walks[::2], walks[1::2]
    begin_of_second, end_of_second = (max(0, each - len(first)) for each in (begin, end))
    return [first[begin:end], second[begin_of_second:end_of_second]]
