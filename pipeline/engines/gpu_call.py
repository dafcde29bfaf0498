"""A call on a GPU that failed, whichever layer it was: CUDA's layers have no common base for their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CallFailed(Exception):
    """A call failed; the executor makes an error of the package of it. texts: what the layers said."""

    def __init__(self, what: str, texts: tuple[str, ...] = ()) -> None:
        super().__init__(what, texts)
        self.what = what
        self.texts = texts


@contextmanager
def told(what: str) -> Iterator[None]:
    """Whatever is raised inside becomes a `CallFailed`."""
    try:
        yield
    except CallFailed:
        raise
    except Exception as error:
        raise CallFailed(what, (f"{type(error).__name__}: {error}",)) from error
