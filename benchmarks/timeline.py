"""When images were finished, and the rates that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timeline:
    """finished: seconds at which the 1st, 2nd, ... image was done, ascending, on the clock of `began`.

    began: when the command was started. ended: when it was over (its process gone, or the call returned).
    """

    began: float
    ended: float
    finished: tuple[float, ...]

    @property
    def images(self) -> int:
        """Images that were finished."""
        return len(self.finished)

    @property
    def seconds(self) -> float:
        """Of the whole command, start-up and end included."""
        return self.ended - self.began

    @property
    def first(self) -> float:
        """Seconds from the start of the command to the first image."""
        return self.finished[0] - self.began

    @property
    def whole_rate(self) -> float:
        """Images a second of the whole command, with start-up and end."""
        return self.images / self.seconds

    def steady_rate(self, low: float = 0.1, high: float = 0.9) -> float:
        """Images a second between the 10 % and the 90 % mark: without start-up, filling and draining.

        The same number of images is half-way through the stages at both marks, so work in flight neither adds to nor
        takes from it.
        """
        first, last = self._marks(low, high)
        return (last - first) / (self.finished[last] - self.finished[first])

    def steady_part(self, low: float = 0.1, high: float = 0.9) -> tuple[float, float, int]:
        """The moments of the two marks, and the images between them."""
        first, last = self._marks(low, high)
        return self.finished[first], self.finished[last], last - first

    def _marks(self, low: float, high: float) -> tuple[int, int]:
        return round(low * (self.images - 1)), round(high * (self.images - 1))


def of_counts(began: float, ended: float, counts: list[tuple[float, int]]) -> Timeline:
    """A timeline from (moment, images done until then), as a progress callback reports it."""
    finished: list[float] = []
    for moment, done in counts:
        finished.extend([moment] * (done - len(finished)))
    return Timeline(began, ended, tuple(finished))


def of_files(began: float, ended: float, folder: Path, suffix: str = ".png") -> Timeline:
    """A timeline from the modification times of the output files below a folder (began, ended: `time.time()`)."""
    times = sorted(path.stat().st_mtime for path in folder.rglob(f"*{suffix}") if "_mattemill" not in path.parts)
    return Timeline(began, ended, tuple(times))
