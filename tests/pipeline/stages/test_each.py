"""Running a stage's work over a batch."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.each import RefusedError, Steps, run_each
from mattemill.pipeline.stages.stage import Done, Failed


class _Pixels(np.ndarray):  # type: ignore[type-arg]
    """An array that can be watched."""


def test_a_refused_image_lets_go_of_its_pixels_without_the_garbage_collector() -> None:
    watched: list[weakref.ref[_Pixels]] = []

    def refuse(steps: Steps) -> Done:
        image = np.zeros((40, 40, 3), np.uint8).view(_Pixels)
        watched.append(weakref.ref(image))
        raise RefusedError(Reason.NO_SUBJECT, "nothing there", image)

    gc.disable()
    try:
        results = run_each("detect", "cpu", [(), ()], refuse)
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()
    assert all(isinstance(result, Failed) and result.failure.preview for result in results)
