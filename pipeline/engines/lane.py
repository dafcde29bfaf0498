"""One GPU's work in one process: its streams, and the working memory that its networks share."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mattemill.kernels.cuda.driver import Driver, Memory, Stream
from mattemill.kernels.cuda.graphs import CudaGraphs
from mattemill.pipeline.errors import DeviceLostError, EngineError


class Lane:
    """What all engines of one actor share. One thread only: the one that made it.

    Networks run one behind the other in `compute`, so their contexts never overlap and need one arena between them, as
    large as the hungriest. Copies run in streams of their own, so that they overlap with computing.

    driver: of the GPU, with its context current in this thread. device: 'cuda:N', for messages. leave: gives the driver
    back, called when the lane is closed and holds nothing of it any more. graphs: records CUDA graphs in these streams;
    None where that cannot be done, and no_graphs says why.
    """

    def __init__(
        self,
        driver: Driver,
        device: str = "cuda:0",
        leave: Callable[[], None] = lambda: None,
        *,
        graphs: CudaGraphs | None = None,
        no_graphs: str = "it was opened without graphs",
    ) -> None:
        self.driver = driver
        self.device = device
        self.graphs = graphs
        self.no_graphs = no_graphs
        self._leave = leave
        self._users: list[Callable[[], None]] = []
        self._closed = False
        self.upload, self.compute, self.download = driver.stream(), driver.stream(), driver.stream()
        if self.compute.handle == 0:
            # TensorRT synchronises the whole device around work in the default stream.
            raise EngineError(f"{device}: the driver gave the default stream where a stream of our own is needed")
        self._arena: Memory | None = None
        self._lost: str | None = None
        self._thread = threading.get_ident()

    @property
    def streams(self) -> tuple[Stream, Stream, Stream]:
        """All three, in the order of the work."""
        return self.upload, self.compute, self.download

    def arena(self, nbytes: int) -> Memory:
        """Working memory of at least so many bytes, for what is put into `compute` next.

        It may move when it grows; what is in flight is waited for before. Raises what the driver raises when there is
        not enough: the arena is then gone, and made anew at the next call.
        """
        if self._arena is None or self._arena.nbytes < nbytes:
            self.compute.synchronise()
            self._arena = None  # given back first: both at once might not fit
            self._arena = self.driver.allocate(max(1, nbytes))
        return self._arena

    def before_close(self, drop: Callable[[], None]) -> None:
        """`drop` lets go of what a user of this lane has on the device; called once, when the lane is closed."""
        self._users.append(drop)

    def close(self) -> None:
        """Wait for what is in flight, drop everything on the device, leave the GPU. Needed before the process ends.

        Nothing is waited for on a GPU that is lost.
        """
        if self._closed:
            return
        self._closed = True
        if self._lost is None:
            for stream in self.streams:
                stream.synchronise()
        while self._users:
            self._users.pop()()
        self._arena = None
        del self.upload, self.compute, self.download
        self._leave()

    def check(self) -> None:
        """Raises DeviceLostError when an earlier error has made the GPU unusable, EngineError in a foreign thread or
        after `close`."""
        if self._lost is not None:
            raise DeviceLostError(f"{self.device} cannot be used in this process any more: {self._lost}")
        if self._closed:
            raise EngineError(f"{self.device}: is closed")
        if threading.get_ident() != self._thread:
            raise EngineError(f"{self.device}: used from another thread than the one that opened it")

    def lose(self, why: str) -> None:
        """From now on `check` raises."""
        self._lost = why
