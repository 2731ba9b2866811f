"""Colour images of fractals, of which each class has its own, before noise of natural spectrum.

A fractal is the set that an iterated function system leads to: a point jumps by one of a few affine
maps, drawn at random, and leaves a dot wherever it goes. The images of a class come from one system
with slightly different numbers, as in FractalDB. The background is noise whose amplitude falls with
the frequency as that of natural images does.

Sources: Kataoka et al.: Pre-training without Natural Images, ACCV 2020; Baradad et al.: Learning to
See by Looking at Noise, NeurIPS 2021, section 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 32
NUM_POINTS, NUM_SKIPPED = 1500, 20
"""The points of an image, and those before them, which are not on the fractal yet."""

MIN_FILLED = 0.2
"""The share of pixels that a fractal must fill, or another is drawn for its class."""

MAX_CHANGE = 0.15
"""By how much, relatively, the numbers of an image's system may differ from those of its class."""

Array = NDArray[np.float64]


class System(NamedTuple):
    """Some affine maps x -> matrix @ x + offset.

    Attributes:
        matrices: (maps, 2, 2).
        offsets: (maps, 2).
        probabilities: (maps), in proportion to the area that each map leaves of a unit of area.
    """

    matrices: Array
    offsets: Array
    probabilities: Array


def draw_images(num_classes: int, num_images: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw images (classes, images of each, height, width, 3)."""
    images = np.empty((num_classes, num_images, SIZE, SIZE, 3), np.uint8)
    for of_class in images:
        system = _draw_system(rng)
        densities = _dots(system, num_images, rng)[..., None]
        shape = (num_images, 1, 1, 3)
        colours = rng.uniform(0, 1, shape)
        background = 0.5 + 0.2 * _noise(num_images, rng)
        mixed = densities * colours + (1 - densities) * background
        of_class[:] = (255 * mixed.clip(0, 1)).round()
    return images


def _draw_system(rng: np.random.Generator) -> System:
    while True:
        num_maps = int(rng.integers(2, 8, endpoint=True))
        matrices = rng.uniform(-1, 1, (num_maps, 2, 2))
        offsets = rng.uniform(-1, 1, (num_maps, 2))
        areas = np.abs(np.linalg.det(matrices)) + 1e-3
        system = System(matrices, offsets, areas / areas.sum())
        # Maps that do not contract on average lead nowhere.
        norms = np.linalg.norm(matrices, ord=2, axis=(1, 2))
        if (system.probabilities * np.log(norms)).sum() > -0.1:
            continue
        if (_dots(system, 8, rng) > 0).mean(axis=(1, 2)).min() >= MIN_FILLED:
            return system


def _dots(system: System, num_images: int, rng: np.random.Generator) -> Array:
    """Draw how much of each pixel (images, height, width) the fractal covers, from 0 to 1."""
    probabilities = system.probabilities
    num_maps = len(probabilities)
    change = rng.uniform(1 - MAX_CHANGE, 1 + MAX_CHANGE, (num_images, num_maps, 6))
    matrices = system.matrices * change[..., :4].reshape(num_images, num_maps, 2, 2)
    offsets = system.offsets * change[..., 4:]
    number = np.arange(num_images)
    point = np.zeros((num_images, 2))
    points = np.empty((NUM_POINTS, num_images, 2))
    num_steps = NUM_SKIPPED + NUM_POINTS
    for step, chosen in enumerate(rng.choice(num_maps, (num_steps, num_images), p=probabilities)):
        point = (matrices[number, chosen] @ point[..., None])[..., 0] + offsets[number, chosen]
        if step >= NUM_SKIPPED:
            points[step - NUM_SKIPPED] = point
    # The outermost 2 % of points do not decide how large the fractal is drawn.
    low, high = np.quantile(points, (0.01, 0.99), axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-9)
    margin = rng.uniform(0, 0.3, (num_images, 2))
    place = margin * rng.uniform(0, 1, (num_images, 2))
    pixels = np.floor(SIZE * (place + (1 - margin) * scaled)).astype(int)
    is_inside = ((pixels >= 0) & (pixels < SIZE)).all(axis=2)
    counts = np.zeros((num_images, SIZE, SIZE))
    image = np.broadcast_to(number, is_inside.shape)
    np.add.at(counts, (image[is_inside], *pixels[is_inside].T), 1)
    return np.minimum(counts / 2, 1)


def _noise(num_images: int, rng: np.random.Generator) -> Array:
    """Draw noise (images, height, width, 3) of unit variance whose amplitude is 1 / frequency."""
    rows, columns = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((num_images, SIZE, SIZE, 3)), axes=(1, 2))
    noise = np.fft.irfft2(white / frequency[..., None], s=(SIZE, SIZE), axes=(1, 2))
    return np.asarray(noise / noise.std(axis=(1, 2, 3), keepdims=True))
