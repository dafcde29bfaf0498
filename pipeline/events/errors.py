"""The errors of a queue of events: one class per cause."""

from __future__ import annotations

from mattemill.pipeline.errors import MattemillError


class QueueError(MattemillError):
    """The queue cannot be used: it is not there, may not be read, or is set so that messages would be lost."""


class QueueAwayError(QueueError):
    """The queue did not answer, or asked for patience: the same call may go well in a moment."""
