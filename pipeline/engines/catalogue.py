"""Which engines we use: the recipe of every network that a job can run, for each backend and precision."""

from __future__ import annotations

from pathlib import Path

from mattemill.pipeline.engines.onnx_hash import onnx_sha256
from mattemill.pipeline.engines.prepare import input_channels, tools_of
from mattemill.pipeline.engines.recipe import Backend, EngineRecipe, Precision, Profile, ShapeRange
from mattemill.pipeline.matting.vitmatte import LARGEST, MULTIPLE
from mattemill.pipeline.models.card import ModelCard

BUCKETS = (1, 2, 4, 8, 16)
"""Batch sizes that an engine is run with; a batch in between is filled up or cut."""

WORKSPACE_BYTES = 4 << 30
"""For choosing and running layers. TensorRT-RTX fails with 1 GiB on u2netp in fp32 at 16 images; it wants 4 MB more."""

OPTIMISATION_LEVEL = 3
"""TensorRT's own default; 5 builds for many minutes."""

_TILE_SIDES = (32, 192, 352)
"""Of a tile of the matting network with its margins: smallest, usual, largest; see `pipeline.matting`."""


def recipe_of(card: ModelCard, path: Path, backend: Backend, precision: Precision) -> EngineRecipe:
    """How the network of a card, in the file at `path`, becomes an engine.

    Raises ModelError when the file cannot be read, EngineError when the onnx package is missing.
    """
    return EngineRecipe(
        backend=backend,
        model=card.name,
        onnx_sha256=onnx_sha256(path),
        outputs=card.output.names,
        profiles=profiles_of(card, path),
        precision=precision,
        tools=tools_of(precision),
        # TF32 is on by default and rounds what is asked for as fp32 to 10 bits.
        flags=(),
        optimisation_level=OPTIMISATION_LEVEL,
        workspace_bytes=WORKSPACE_BYTES,
    )


def profiles_of(card: ModelCard, path: Path) -> tuple[Profile, ...]:
    """Shapes that a job gives the network. None for YOLOX and NanoDet, whose exports have their batch of one built in.

    RT-DETR's exports leave all sizes free and are run at one; ViTMatte is shown one window at a time. BiRefNet's have
    their batch of one in the shapes of its windows, too, and one image at 1,024 px is work enough for a GPU.
    """
    if card.family in ("yolox", "nanodet"):
        return ()
    if card.family in ("rtdetr", "birefnet"):
        one = (1, 3, *card.input.size)
        return ((ShapeRange(card.input.name, one, one, one),),)
    if card.family == "vitmatte":
        smallest_side, largest_side = (1, 4, MULTIPLE, MULTIPLE), (1, 4, LARGEST, LARGEST)
        return ((ShapeRange(card.input.name, smallest_side, largest_side, largest_side),),)
    smallest, usual, largest = BUCKETS[0], BUCKETS[3], BUCKETS[-1]
    if card.task == "matting":
        low, mid, high = _TILE_SIDES
        planes = input_channels(path, card.input.name)
        return (
            (
                ShapeRange(
                    card.input.name,
                    (smallest, planes, low, low),
                    (usual, planes, mid, mid),
                    (largest, planes, high, high),
                ),
            ),
        )
    size = card.input.size
    return ((ShapeRange(card.input.name, (smallest, 3, *size), (usual, 3, *size), (largest, 3, *size)),),)
