"""What crops.py and calibrate_score.py share: photographs with truth, cut by the stages with passes remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mattemill.kernels.paste import paste_masks
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.models.load import LOCALISER, load_saliency
from mattemill.pipeline.models.saliency import SaliencyMap, SaliencyNetwork
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.quality import score_figures
from mattemill.pipeline.stages.detect import SubjectFinder
from mattemill.pipeline.stages.segment import Segmenter

SETS = {
    "alphamatting27": "alpha",
    "am2k_samples": "alpha",
    "p3m_samples": "alpha",
    "aim_samples": "alpha",
    "products_bigbird6": "mask",
    "davis20": "mask",
    "vgg_iseg151": "mask",
}
"""Sets of ../shared/evaldata and the folder of their truth. coco_tiny100's truth is not the salient thing."""

NOT_COUNTED = 128  # a value of vgg_iseg151's masks
PASSES = {"u2netp": 1.0, "u2net": 2.54}
"""Compute of a pass in passes of u2netp: process time on one core, 118 passes each: 0.635 and 1.615 s."""


@dataclass(frozen=True, slots=True)
class Known:
    """A photograph uint8 (H, W, 3) and its truth: inside, counted bool (H, W)."""

    set: str
    name: str
    image: Rgb
    inside: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]

    def iou(self, soft: Alpha) -> float:
        """Of the mask at 0.5, over the pixels that count."""
        found, truth = (soft >= 0.5) & self.counted, self.inside & self.counted
        together = int(np.count_nonzero(found | truth))
        return int(np.count_nonzero(found & truth)) / together if together else 1.0


def photographs(evaldata: Path) -> Iterator[Known]:
    """All photographs of `SETS` under ../shared/evaldata, in order."""
    for name, folder in SETS.items():
        for path in sorted((evaldata / name / "image").iterdir()):
            data = path.read_bytes()
            truth = np.asarray(Image.open(next((evaldata / name / folder).glob(path.stem + ".*"))).convert("L"))
            counted = truth != NOT_COUNTED if folder == "mask" else np.ones(truth.shape, np.bool_)
            yield Known(name, path.stem, decode(data, read_header(data)), truth >= 128, counted)


@dataclass(slots=True)
class Remembering:
    """A saliency network that keeps what it has said in a folder and counts what it is asked."""

    name: str
    folder: Path | None = None
    asked: float = 0.0
    _network: SaliencyNetwork | None = None
    _kept: dict[str, SaliencyMap] = field(default_factory=dict)

    @property
    def card(self) -> Any:
        """Of the network."""
        return self._loaded().card

    def __call__(self, image: Rgb) -> SaliencyMap:
        self.asked += PASSES[self.name]
        key = hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()[:24]
        if key in self._kept:
            return self._kept[key]
        file = self.folder / f"{self.name}-{key}.npz" if self.folder is not None else None
        if file is not None and file.exists():
            with np.load(file) as kept:
                said = SaliencyMap(kept["mask"], float(kept["peak"]), float(kept["floor"]))
        else:
            said = self._loaded()(image)
            if file is not None:
                np.savez_compressed(file, mask=said.mask, peak=said.peak, floor=said.floor)
        self._kept[key] = said
        return said

    def _loaded(self) -> SaliencyNetwork:
        if self._network is None:
            self._network = load_saliency(self.name)
        return self._network


@dataclass(frozen=True, slots=True)
class Cut:
    """How one photograph came out: IoU, compute in passes of u2netp, the pipeline's figures, and its boxes."""

    set: str
    name: str
    iou: float
    passes: float
    figures: dict[str, float]


Networks = dict[str, Remembering]


def networks(folder: Path | None) -> Networks:
    """Both networks; folder: where what they say is kept between runs."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return {name: Remembering(name, folder) for name in PASSES}


def cut_all(known: Iterator[Known], ask: Networks, config: JobConfig) -> list[Cut]:
    """Every photograph through the finder, the segmenter and the score's figures as `config` sets them.

    Nothing is refused: the subject threshold is 0.
    """
    first: Any = ask[LOCALISER]
    second: Any = ask[config.second_network] if config.second_network != "none" else None
    find = SubjectFinder(first, None, subjects="main", threshold=0.0, main_share=config.main_share)
    segment = Segmenter(
        first,
        margin=config.crop_margin,
        localiser=LOCALISER,
        main_share=config.main_share,
        second=second,
        second_doubt=config.second_doubt,
    )

    def one(photo: Known) -> tuple[Alpha, dict[str, float]]:
        shape = photo.image.shape[:2]
        found = find(photo.image)
        mask, scores = segment(lambda: photo.image, shape, found.detection, 0)
        soft = paste_masks([(mask.mask, mask.window)], shape)
        return soft, found.scores | scores | score_figures(photo.image, soft, [mask])

    return by_rule(known, ask, one)


def by_rule(
    known: Iterator[Known], ask: Networks, rule: Callable[[Known], tuple[Alpha, dict[str, float]]]
) -> list[Cut]:
    """Every photograph by a rule that gives its soft mask and figures."""
    cuts = []
    for photo in known:
        before = sum(network.asked for network in ask.values())
        soft, figures = rule(photo)
        passes = sum(network.asked for network in ask.values()) - before
        cuts.append(Cut(photo.set, photo.name, photo.iou(soft), passes, figures))
    return cuts
