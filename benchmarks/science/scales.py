"""Scales: everything, a part that takes ten minutes, and a part that shows that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from phew.masks.rescaling import Rescale
from science import factors
from science.jobs import (
    DENSE,
    ONE_WALK,
    TRAINING_STEP,
    Ablation,
    Cost,
    Job,
    Structure,
    Training,
    WalkProduct,
)
from science.networks import PAPER_NETWORKS
from science.speed import Speed
from science.training import PAPER

PAPER_DENSITIES = tuple(round(0.8**power, 6) for power in range(3, 19))
"""The densities of the paper: 51 % to 1.8 %."""

FEW, FEWEST = PAPER_DENSITIES[11], PAPER_DENSITIES[15]

COMPARED = ("PHEW", "SynFlow", "SynFlow-L2", "SNIP", "GraSP", "magnitude", "random", "ERK")
STRUCTURAL = (
    *("PHEW", "SynFlow", "SynFlow-L2", "magnitude", "random", "ERK"),
    *("uniform walks", "inverse walks", "PHEW2", "kernel PHEW"),
)


@dataclass(frozen=True)
class Sweep:
    """Trainings of networks, dense and by each method at each density.

    Attributes:
        cases: Data sets and networks.
        rescale, ablation, as_many_as: Fields of each `Training`.
    """

    cases: tuple[tuple[str, str], ...]
    densities: tuple[float, ...]
    methods: tuple[str, ...]
    num_seeds: int
    num_epochs: int
    rescale: Rescale = "none"
    ablation: Ablation = "none"
    as_many_as: str = ""

    def jobs(self, seed: int) -> Iterator[Training]:
        """Yield the trainings of a seed."""
        for data, network in self.cases:
            yield Training(data, network, DENSE, 1.0, seed, self.num_epochs)
            for density in self.densities:
                for method in self.methods:
                    yield Training(
                        *(data, network, method, density, seed, self.num_epochs),
                        rescale=self.rescale,
                        ablation=self.ablation,
                        as_many_as=self.as_many_as,
                    )


@dataclass(frozen=True)
class Scale:
    """The jobs of a run.

    Attributes:
        sweeps: The trainings.
        structures: Networks that are analysed, and the number of seeds of each.
        costs: Networks whose pruning is timed, and the methods that are timed on them.
        speeds: Trainings that are timed.
    """

    sweeps: tuple[Sweep, ...]
    structures: dict[str, int] = field(default_factory=dict)
    structural_densities: tuple[float, ...] = ()
    structural_methods: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    costs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    speeds: tuple[Speed, ...] = ()

    def parallel_jobs(self) -> list[Job]:
        """Return jobs of one thread, seed by seed, so that an interrupted run has whole seeds."""
        # Sweeps share dense trainings.
        return list(dict.fromkeys(self._parallel_jobs()))

    def _parallel_jobs(self) -> Iterator[Job]:
        for network in self.chains:
            yield WalkProduct(network, seed=0)
        for network, num_seeds in self.structures.items():
            for seed in range(num_seeds):
                for method in self.structural_methods:
                    for density in self.structural_densities:
                        yield Structure(network, method, density, seed)
                yield Structure(network, "PHEW", ONE_WALK, seed)
        for seed in range(max(sweep.num_seeds for sweep in self.sweeps)):
            for sweep in self.sweeps:
                if seed < sweep.num_seeds:
                    yield from sweep.jobs(seed)

    def jobs_alone(self) -> Iterator[Job]:
        """Yield jobs that are timed, and so must run alone."""
        for network, methods in self.costs.items():
            for method in methods:
                yield Cost(network, method, density=1.0 if method == TRAINING_STEP else 0.1)
        yield from self.speeds


SMALL_CASES = (("mnist1d", "conv"), ("mnist1d", "mlp"), ("digits", "conv"), ("digits", "mlp"))
PERCEPTRONS = tuple((data, network) for data, network in SMALL_CASES if network == "mlp")


def image_sweeps(num_seeds: int) -> Iterator[Sweep]:
    """Yield trainings of a network of the paper, which take minutes each, on images."""
    for data, num_epochs in {"fractals": 8, "mnist_5000": 8, "digits_32": 20}.items():
        yield Sweep(
            *(((data, "resnet20"),), (FEW, FEWEST), ("PHEW", *factors.RIVALS)),
            *(num_seeds, num_epochs),
        )


def factor_sweeps(num_seeds: int, num_epochs: int) -> Iterator[Sweep]:
    """Yield the trainings of networks that differ in one thing (see `science.factors`)."""
    for factor in factors.FACTORS:
        for network, rescale in factor.levels.values():
            yield Sweep(
                tuple((data, network) for data in ("mnist1d", "digits")),
                factors.DENSITIES,
                ("PHEW", *factors.RIVALS),
                num_seeds,
                num_epochs,
                rescale=rescale,
                as_many_as=factor.as_many_as_of(network),
            )


def ablation_sweeps(num_seeds: int, num_epochs: int) -> Iterator[Sweep]:
    """Yield trainings without a part of each method's choice."""
    ablations: tuple[Ablation, ...] = ("shuffled", "redrawn")
    rescales: dict[str, Rescale] = {"conv": "none", "mlp": "auto"}
    for ablation in ablations:
        for network, rescale in rescales.items():
            yield Sweep(
                tuple(case for case in SMALL_CASES if case[1] == network),
                (PAPER_DENSITIES[7], FEW),
                tuple(method for method in COMPARED if method != "random"),
                num_seeds,
                num_epochs,
                rescale=rescale,
                ablation=ablation,
            )


def speeds(num_seeds: int) -> Iterator[Speed]:
    """Yield trainings of a wide perceptron in all forms."""
    for seed in range(num_seeds):
        yield Speed("mnist_5000", "dense", 1024, 1.0, seed, accuracy=0.95, num_epochs=20)
        for density in (0.1, 0.02):
            for form in ("held", "sparse", "small"):
                yield Speed("mnist_5000", form, 1024, density, seed, accuracy=0.95, num_epochs=20)


FULL = Scale(
    sweeps=(
        Sweep(SMALL_CASES, PAPER_DENSITIES, COMPARED, num_seeds=10, num_epochs=30),
        Sweep(
            PERCEPTRONS,
            PAPER_DENSITIES[1::2],
            COMPARED,
            num_seeds=10,
            num_epochs=30,
            rescale="auto",
        ),
        *factor_sweeps(num_seeds=5, num_epochs=30),
        *ablation_sweeps(num_seeds=5, num_epochs=30),
        *image_sweeps(num_seeds=5),
    ),
    structures={"lenet_300_100": 3, "resnet20": 3, "vgg19_bn": 1},
    structural_densities=(0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
    structural_methods=STRUCTURAL,
    chains=("lenet_300_100", "vgg19_bn"),
    costs={
        "resnet20": COMPARED,
        "vgg19_bn": COMPARED,
        "resnet50": (*COMPARED, TRAINING_STEP),
    },
    speeds=tuple(speeds(num_seeds=3)),
)
QUICK = Scale(
    sweeps=(
        Sweep(SMALL_CASES, PAPER_DENSITIES[4::5], COMPARED, num_seeds=4, num_epochs=15),
        Sweep(
            PERCEPTRONS,
            PAPER_DENSITIES[9::5],
            COMPARED,
            num_seeds=4,
            num_epochs=15,
            rescale="auto",
        ),
    ),
    structures={"lenet_300_100": 1, "resnet20": 1},
    structural_densities=(0.5, 0.1, 0.01),
    structural_methods=STRUCTURAL,
    chains=("lenet_300_100", "vgg19_bn"),
    costs={"vgg19_bn": ("PHEW", "SynFlow"), "resnet50": ("PHEW", TRAINING_STEP)},
)
TINY = Scale(
    sweeps=(
        Sweep((("digits", "mlp"),), (0.05,), COMPARED, num_seeds=2, num_epochs=2),
        Sweep((("digits", "mlp"),), (0.05,), COMPARED, num_seeds=2, num_epochs=2, rescale="auto"),
    ),
    structures={"lenet5": 1},
    structural_densities=(0.1,),
    structural_methods=("PHEW", "SynFlow", "SynFlow-L2", "random", "uniform walks"),
    chains=("lenet_300_100",),
    costs={"vgg19_bn": ("PHEW",)},
    speeds=(Speed("digits", "sparse", 64, 0.2, 0, accuracy=0.2, num_epochs=5),),
)


def paper_scale(data: str) -> Scale:
    """Return the paper's protocol on a data set that is read from disk, with three runs each."""
    cases = tuple((data, network) for network in PAPER_NETWORKS[data])
    return Scale(
        (Sweep(cases, PAPER_DENSITIES, COMPARED, num_seeds=3, num_epochs=PAPER.num_epochs),)
    )
