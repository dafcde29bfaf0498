"""The errors that mattemill raises: one base class, one class per cause.

A message names the thing, what is wrong with it, and what to do. Errors about one image derive from
`ImageError` and carry the `Reason` with which that image ends; everything else ends the job.
"""

from __future__ import annotations

from mattemill.pipeline.reasons import Reason


class MattemillError(Exception):
    """Base of every error that mattemill raises on purpose."""


class UsageError(MattemillError):
    """What the user asked for makes no sense: a flag, a path or a setting (exit code 2)."""


class ConfigError(UsageError):
    """A setting of the job has a value that it cannot have."""


class HintError(UsageError):
    """A trimap or strokes that cannot be used: another size, no picture, or nothing said."""


class SourceError(MattemillError):
    """The source cannot be listed or its manifest cannot be read."""


class SinkError(MattemillError):
    """The sink cannot be written, or belongs to another source."""


class ModelError(MattemillError):
    """A model is not known, not fetched, or not the file that its card describes."""


class DeviceError(MattemillError):
    """The device that was asked for cannot be had here."""


class EngineError(MattemillError):
    """A network failed, or its output is not finite."""


class DeviceLostError(EngineError):
    """A CUDA error after which nothing runs on the GPU in this process: the process must be replaced."""


class LedgerError(MattemillError):
    """The outcome files contradict each other or cannot be read."""


class JobRunningError(MattemillError):
    """Another driver works on the same sink, or has taken the work over from this one."""


class JobStalledError(MattemillError):
    """No image has ended for too long; the message names the stage, its queue and its workers."""


class StoreError(MattemillError):
    """An object store answered something other than the object; carries the reason for the image."""

    reason = Reason.READ_FAILED


class MissingObjectError(StoreError):
    """The object does not exist (404)."""

    reason = Reason.MISSING


class ForbiddenError(StoreError):
    """The credentials do not allow this access (401, 403)."""

    reason = Reason.FORBIDDEN


class ChangedObjectError(StoreError):
    """The object is no longer the one that was listed (412, or another ETag)."""

    reason = Reason.CHANGED_WHILE_READING


class AlreadyThereError(StoreError):
    """A conditional PUT (If-None-Match: *) found the object already there (412)."""


class ObjectTooLargeError(StoreError):
    """The object has more bytes than the caller wants to read; none of them was read."""

    reason = Reason.TOO_LARGE


class StoreUnavailableError(StoreError):
    """5xx, SlowDown, timeouts or cut bodies until the retries were used up."""


class ImageError(MattemillError):
    """This one image cannot be cut; ends as a `Failure` with the given reason, its neighbours go on."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        return (type(self), (self.reason, self.message))
