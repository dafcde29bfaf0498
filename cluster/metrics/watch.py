"""Puts the metrics of a job beside whoever else looks at its progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event

from mattemill.cluster.committer import Committer
from mattemill.cluster.metrics.cell_figures import CellFigures
from mattemill.cluster.metrics.figures import Around
from mattemill.cluster.metrics.publish import Publisher, RayMetrics
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.storage.retry import FAULTS

OnProgress = Callable[[Progress], None]


def watched(
    on_progress: OnProgress | None,
    config: JobConfig,
    ledger: Ledger,
    committer: Committer,
    figures: Callable[[], CellFigures | None],
) -> OnProgress | None:
    """`on_progress` with the metrics beside it; as it is when `config.metrics` is off.

    figures: of the cell, or of all of them as one; None while there is none.
    """
    if not config.metrics:
        return on_progress
    of_driver: Counter[str] = Counter()

    def around(spilled: int | None) -> Around:
        of_driver.update(FAULTS.take())
        return Around(
            committed=committer.cut + sum(committer.failed.values()),
            shards=committer.shards,
            spilled=spilled,
            lease_number=ledger.lease_number,
            lease_age=ledger.lease_age,
            store_errors=of_driver,
            price_per_hour=config.price_per_hour,
        )

    def spilled(stop: Event) -> int:
        from mattemill.cluster.ray_start import spilled_bytes

        return spilled_bytes(config.ray_address, stop=stop)

    publish = Publisher(figures, around, RayMetrics(ledger.fingerprint), spilled)

    def both(progress: Progress) -> None:
        publish(progress)
        if on_progress is not None:
            on_progress(progress)

    return both
