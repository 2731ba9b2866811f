"""Scales: everything, a part that takes ten minutes, and a part that shows that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from science.jobs import DENSE, ONE_WALK, TRAINING_STEP, Cost, Job, Structure, Training, WalkProduct
from science.training import PAPER

PAPER_DENSITIES = tuple(round(0.8**power, 6) for power in range(3, 19))
"""The densities of the paper: 51 % to 1.8 %."""

COMPARED = ("PHEW", "SynFlow", "SynFlow-L2", "SNIP", "GraSP", "magnitude", "random", "ERK")
STRUCTURAL = (
    *("PHEW", "SynFlow", "SynFlow-L2", "magnitude", "random", "ERK"),
    *("uniform walks", "inverse walks", "PHEW2", "kernel PHEW"),
)
PAPER_NETWORKS = {
    "mnist": ("lenet_300_100", "lenet5"),
    "cifar10": ("resnet20", "vgg19_bn"),
    "cifar100": ("resnet32", "vgg19_bn"),
    "tiny_imagenet": ("resnet18",),
}
"""The networks of the paper, by data set that is read from disk."""


@dataclass(frozen=True)
class Scale:
    """The jobs of a run.

    Attributes:
        trained: Data sets and networks that are trained.
        rescaled: Those of them without normalisation, which are trained with rescaled weights too.
        num_seeds: The number of seeds of each training.
        num_epochs: The number of epochs of each training.
        structures: Networks that are analysed, and the number of seeds of each.
        costs: Networks whose pruning is timed, and the methods that are timed on them.
    """

    trained: tuple[tuple[str, str], ...]
    densities: tuple[float, ...]
    methods: tuple[str, ...]
    num_seeds: int
    num_epochs: int
    rescaled: tuple[tuple[str, str], ...] = ()
    rescaled_densities: tuple[float, ...] = ()
    structures: dict[str, int] = field(default_factory=dict)
    structural_densities: tuple[float, ...] = ()
    structural_methods: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    costs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parallel_jobs(self) -> Iterator[Job]:
        """Yield jobs of one thread, seed by seed, so that an interrupted run has whole seeds."""
        for network in self.chains:
            yield WalkProduct(network, seed=0)
        for network, num_seeds in self.structures.items():
            for seed in range(num_seeds):
                for method in self.structural_methods:
                    for density in self.structural_densities:
                        yield Structure(network, method, density, seed)
                yield Structure(network, "PHEW", ONE_WALK, seed)
        for seed in range(self.num_seeds):
            for data, network in self.trained:
                yield Training(data, network, DENSE, 1.0, seed, self.num_epochs)
                for density in self.densities:
                    for method in self.methods:
                        yield Training(data, network, method, density, seed, self.num_epochs)
            for data, network in self.rescaled:
                for density in self.rescaled_densities:
                    for method in self.methods:
                        yield Training(
                            data, network, method, density, seed, self.num_epochs, rescale="auto"
                        )

    def jobs_alone(self) -> Iterator[Job]:
        """Yield jobs that are timed, and so must run alone."""
        for network, methods in self.costs.items():
            for method in methods:
                yield Cost(network, method, density=1.0 if method == TRAINING_STEP else 0.1)


SMALL = (("mnist1d", "conv"), ("mnist1d", "mlp"), ("digits", "conv"), ("digits", "mlp"))
PERCEPTRONS = tuple((data, network) for data, network in SMALL if network == "mlp")

FULL = Scale(
    trained=SMALL,
    densities=PAPER_DENSITIES,
    methods=COMPARED,
    num_seeds=10,
    num_epochs=30,
    rescaled=PERCEPTRONS,
    rescaled_densities=PAPER_DENSITIES[1::2],
    structures={"lenet_300_100": 3, "resnet20": 3, "vgg19_bn": 1},
    structural_densities=(0.5, 0.2, 0.1, 0.05, 0.02, 0.01),
    structural_methods=STRUCTURAL,
    chains=("lenet_300_100", "vgg19_bn"),
    costs={
        "resnet20": COMPARED,
        "vgg19_bn": COMPARED,
        "resnet50": (*COMPARED, TRAINING_STEP),
    },
)
QUICK = Scale(
    trained=SMALL,
    densities=PAPER_DENSITIES[4::5],
    methods=COMPARED,
    num_seeds=4,
    num_epochs=15,
    rescaled=PERCEPTRONS,
    rescaled_densities=PAPER_DENSITIES[9::5],
    structures={"lenet_300_100": 1, "resnet20": 1},
    structural_densities=(0.5, 0.1, 0.01),
    structural_methods=STRUCTURAL,
    chains=("lenet_300_100", "vgg19_bn"),
    costs={"vgg19_bn": ("PHEW", "SynFlow"), "resnet50": ("PHEW", TRAINING_STEP)},
)
TINY = Scale(
    trained=(("digits", "mlp"),),
    densities=(0.05,),
    methods=COMPARED,
    num_seeds=2,
    num_epochs=2,
    rescaled=(("digits", "mlp"),),
    rescaled_densities=(0.05,),
    structures={"lenet5": 1},
    structural_densities=(0.1,),
    structural_methods=("PHEW", "SynFlow", "SynFlow-L2", "random", "uniform walks"),
    chains=("lenet_300_100",),
    costs={"vgg19_bn": ("PHEW",)},
)


def paper_scale(data: str) -> Scale:
    """Return the paper's protocol on a data set that is read from disk, with three runs each."""
    return Scale(
        trained=tuple((data, network) for network in PAPER_NETWORKS[data]),
        densities=PAPER_DENSITIES,
        methods=COMPARED,
        num_seeds=3,
        num_epochs=PAPER.num_epochs,
    )
