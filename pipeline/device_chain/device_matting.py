"""The matting network over tiles of a photograph on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.closed_form import closed_form_lines
from mattemill.kernels.cuda.colour_lines import draw_colour_lines
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.errors import DeviceMemoryError
from mattemill.kernels.cuda.tile_blend import TileLines, blend_tiles
from mattemill.kernels.cuda.tile_input import tile_input
from mattemill.kernels.cuda.true_boxes import true_boxes
from mattemill.pipeline.device_chain.device_network import DeviceEngine
from mattemill.pipeline.engines.batches import BatchCaps
from mattemill.pipeline.engines.gpu_faults import gpu_fault
from mattemill.pipeline.engines.recipe import Shape
from mattemill.pipeline.errors import DeviceLostError, EngineError
from mattemill.pipeline.matting.network_refiner import INPUT, OUTPUT
from mattemill.pipeline.matting.tile_plan import BLEND, CLOSED, Tile, plan_tiles_by, seen_step
from mattemill.pipeline.matting.tiles import Rectangle


class DeviceMattingRefiner:
    """As `MattingNetworkRefiner`, for photographs on the device. Not yet run on a GPU.

    The tiles are the host's, pixel by pixel: it asks for boxes around what is unknown, in a few rounds, 32 bytes a box.
    Elsewhere the network's strides lie differently: tiles of whole cells of 8 px changed up to 3 of 100 pixels by more
    than 8 of 255. Tiles of one size are one run of the network, of at most the engine's batch limit.
    Out of memory halves that limit for tiles of that size, for good, as `TensorRtEngine.run` does.

    Memory beyond the arguments and the result is 4 bytes a pixel, what the closed-form matte takes, and of the pixels
    that the network sees 28 bytes each in one run and 5 in all of them.
    """

    def __init__(self, device: Device, engine: DeviceEngine, step: int = 2) -> None:
        self._on = device
        self._engine = engine
        self._step = step
        self._caps = BatchCaps()

    def __call__(self, picture: DeviceArray, soft: DeviceArray, bands: DeviceArray, asked: DeviceArray) -> DeviceArray:
        """A matte, float32 (H, W) in 0..1: `bands` where it knows, the network where it is asked, else the mask.

        picture: uint8 (H, W, 3). soft: float32 (H, W), the mask. bands: uint8 (H, W) of 0, 128 and 255. asked: uint8
        (H, W), not 0 in that part of the unknown band that is asked for. All contiguous. Raises EngineError when the
        network fails or its lines are not finite, DeviceMemoryError when there is not even memory for one tile.
        """
        on, shape = self._on, (soft.shape[0], soft.shape[1])
        step = seen_step(shape, self._step)

        def boxes(parts: Sequence[Rectangle]) -> list[Rectangle | None]:
            found = true_boxes(on, asked, [(part.x0, part.y0, part.x1, part.y1) for part in parts])
            return [None if box is None else Rectangle(*box) for box in found]

        # Before everything that takes long: each round waits for the device.
        tiles = plan_tiles_by(boxes, shape, step)
        if not tiles:
            return blend_tiles(on, [], picture, soft, bands, soft, BLEND * step)[0]
        closed = closed_form_lines(on, picture, bands, CLOSED * step)
        guess = draw_colour_lines(on, closed, picture, soft, bands)
        lines = self._lines(tiles, picture, soft, bands, guess, step)
        drawn = [TileLines(lines[tile], tile.inner, tile.wide, tile.shown) for tile in tiles]
        matte, broken = blend_tiles(on, drawn, picture, soft, bands, guess, BLEND * step)
        if on.download(broken).any():
            raise EngineError(f"the matting network: output {OUTPUT} is not finite on {self._engine.device}")
        return matte

    def _lines(
        self,
        tiles: Sequence[Tile],
        picture: DeviceArray,
        soft: DeviceArray,
        bands: DeviceArray,
        guess: DeviceArray,
        step: int,
    ) -> dict[Tile, DeviceArray]:
        """Of every tile what the network says, float32 (5, h, w)."""
        found: dict[Tile, DeviceArray] = {}
        for (height, width), alike in _by_size(tiles).items():
            size = (height // step, width // step)  # as the network sees it
            while alike:
                run = alike[: self._caps.of(size, self._engine.batch_limit)]
                given = (picture, soft, bands, guess, [tile.shown for tile in run], step)
                try:
                    lines = self._run(*given)
                except (EngineError, DeviceMemoryError) as error:
                    if not _out_of_memory(error) or not self._caps.halve(size, len(run)):
                        raise
                    continue  # behind this clause: until then the error holds the arrays that it was raised over
                found |= {tile: lines.part(index) for index, tile in enumerate(run)}
                alike = alike[len(run) :]
        return found

    def _run(
        self,
        picture: DeviceArray,
        soft: DeviceArray,
        bands: DeviceArray,
        guess: DeviceArray,
        windows: Sequence[Window],
        step: int,
    ) -> DeviceArray:
        """The network's answer to windows of one size, in one run of it: float32 (N, 5, h, w)."""
        given = tile_input(self._on, picture, soft, bands, guess, windows, step)
        shapes = {INPUT: given.shape}
        sizes = self._engine.output_shapes(shapes)
        wanted = (len(windows), *lines_shapes(shapes)[OUTPUT])
        if sizes.get(OUTPUT) != wanted:
            raise EngineError(f"the matting network: output is {sizes}, not {OUTPUT} {wanted}")
        made = {name: self._on.empty(size, np.float32) for name, size in sizes.items()}
        addresses = {INPUT: given.pointer} | {name: array.pointer for name, array in made.items()}
        self._engine.enqueue(shapes, addresses)
        return made[OUTPUT]


def lines_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shape of the network's output for one tile, by its name, for the shapes of its inputs."""
    _, _, height, width = shapes[INPUT]
    return {OUTPUT: (5, height // 2, width // 2)}


def _by_size(tiles: Sequence[Tile]) -> dict[tuple[int, int], list[Tile]]:
    """By the (h, w) at which they are shown."""
    groups: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        left, top, right, bottom = tile.shown
        groups.setdefault((bottom - top, right - left), []).append(tile)
    return groups


def _out_of_memory(error: EngineError | DeviceMemoryError) -> bool:
    """Whether fewer tiles may fit; an engine says so in its words only."""
    if isinstance(error, EngineError):
        return not isinstance(error, DeviceLostError) and gpu_fault([str(error)]) == "memory"
    return True
