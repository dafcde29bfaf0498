"""The figures that tables show, in their order, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mattemill.pipeline.evaluation.summary import Figures


@dataclass(frozen=True, slots=True)
class Column:
    """figure: its flat name. title: short. meaning: for a person who asks. factor: shown = figure * factor.

    brief: shown where there is little room, too.
    """

    figure: str
    title: str
    meaning: str
    digits: int = 0
    factor: float = 1.0
    brief: bool = True

    def text(self, figures: Figures) -> str:
        """The figure as written, '-' when there is none."""
        value = figures.get(self.figure)
        return "-" if value is None else f"{value * self.factor:,.{self.digits}f}"


COLUMNS: Final = (
    Column("n", "n", "photographs"),
    Column("failed", "failed", "without a matte: counted as an empty one"),
    Column("iou", "IoU", "intersection over union at alpha 0.5; more is better", 3),
    Column("mae", "MAE", "mean absolute error of alpha, 0..1", 4),
    Column("mse", "MSE e-3", "mean squared error of alpha, in thousandths", 2, 1e3, brief=False),
    Column("sad", "SAD k", "sum of absolute differences, in thousands", 2),
    Column("grad", "Grad k", "gradient error (Rhemann et al. 2009), in thousands", 2),
    Column("conn", "Conn k", "connectivity error (Rhemann et al. 2009), in thousands", 2),
    Column(
        "band_mse", "band MSE e-3", "mean squared error within the unknown band, in thousandths", 2, 1e3, brief=False
    ),
    Column("band_sad", "band SAD k", "sum of absolute differences within the unknown band, in thousands", 2),
    Column("band_grad", "band Grad k", "gradient error within the unknown band, in thousands", 2, brief=False),
    Column("mask_iou", "mask IoU", "IoU of the soft mask before refinement", 3),
    Column("mask_sad", "mask SAD k", "SAD of the soft mask before refinement, in thousands", 2, brief=False),
    Column("box_ap", "box AP", "average precision of the boxes, IoU .5 to .95, all classes as one", 3),
    Column("mask_ap", "mask AP", "average precision of the masks, IoU .5 to .95, all classes as one", 3),
    Column("cpu_ms", "CPU ms", "CPU time of one cut on one thread, without decoding the truth or writing a file"),
    Column("wall_ms", "wall ms", "wall time of the same"),
    Column(
        "refine_cpu_s_mp", "refine s/MP", "CPU seconds of the refinement a megapixel of unknown band", 2, brief=False
    ),
    Column("peak_mb", "peak MB", "largest resident memory of a process while it cut"),
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What the refinement did to the soft masks of one kind: photographs, mean SAD of mask and matte in thousands."""

    kind: str
    n: int
    mask_sad: float
    sad: float

    @property
    def change(self) -> float:
        """Of the SAD, as a share of the mask's: -0.4 is 40 % less."""
        return self.sad / self.mask_sad - 1.0 if self.mask_sad else 0.0


def repairs_of(figures: Figures) -> tuple[Repair, ...]:
    """Of the masks that are right (IoU over .93) and of the others; photographs with a soft truth only."""
    return tuple(
        Repair(kind, int(figures[f"{kind}_n"]), figures[f"{kind}_mask_sad"], figures[f"{kind}_sad"])
        for kind in ("right", "wrong")
        if f"{kind}_n" in figures
    )


def columns_of(groups: Iterable[Figures]) -> tuple[Column, ...]:
    """The columns that any of the groups has a figure for; 'failed' only when something failed."""
    there = {name for figures in groups for name, value in figures.items() if name != "failed" or value}
    return tuple(column for column in COLUMNS if column.figure in there)
