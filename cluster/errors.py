"""The errors of the machinery itself: one class per cause."""

from __future__ import annotations

from mattemill.pipeline.errors import MattemillError


class BrokenStageError(MattemillError):
    """A stage cannot work here: its workers do not start, keep dying, or fail on every image."""


class FinishedTwiceError(MattemillError):
    """An image was to end a second time: a bug in the machinery, please report it."""


class RayStartError(MattemillError):
    """Ray could not be started or reached."""
