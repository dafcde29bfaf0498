"""What TensorRT says while it works: kept, so that an error can quote it, and passed on to the log."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from mattemill.pipeline.engines.tensorrt_api import TensorRt

_LOG = logging.getLogger(__name__)
# INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE are 0 .. 4. What TensorRT calls information is for debugging to us.
_LEVELS = (logging.ERROR, logging.ERROR, logging.WARNING, logging.DEBUG, logging.DEBUG)
_ERROR = 1


class Messages:
    """The last errors that TensorRT told. `logger` is what its constructors take; it must outlive what they make."""

    def __init__(self, module: TensorRt, kept: int = 20) -> None:
        self._errors: deque[str] = deque(maxlen=kept)
        self.logger = _make_logger(module, self._tell)

    def take_errors(self) -> list[str]:
        """The errors since the last call, oldest first."""
        taken = list(self._errors)
        self._errors.clear()
        return taken

    def _tell(self, severity: int, text: str) -> None:
        if severity <= _ERROR:
            self._errors.append(text)
        _LOG.log(_LEVELS[min(severity, len(_LEVELS) - 1)], "tensorrt=%r", text)


def _make_logger(module: TensorRt, tell: Any) -> Any:
    base = module.ILogger

    class Logger(base):  # type: ignore[misc, valid-type]  # TensorRT takes only what derives from its own
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            tell(int(severity), msg)

    return Logger()
