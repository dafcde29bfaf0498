"""Every metric that a job exports: the one table that code, alert rules, dashboard and tests go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge"]

JOB_LABELS = ("fingerprint",)
"""On every metric: the job. Ray adds NodeAddress, SessionName, WorkerId and others: sum `by (fingerprint)`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """name: as Ray is told it, without Ray's prefix and a counter's suffix. unit: of its values ('' = a plain count).

    labels: beside `JOB_LABELS`.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"ray_{self.name}" + ("_total" if self.kind == "counter" else "")


def _metric(name: str, kind: Kind, unit: str, labels: str, text: str) -> Metric:
    return Metric(f"mattemill_{name}", kind, unit, tuple(labels.split()), text)


CATALOGUE: tuple[Metric, ...] = (
    # Images.
    _metric(
        "images", "counter", "", "outcome reason", "Images that ended; outcome matte or failure, reason of a failure."
    ),
    _metric("images_committed", "counter", "", "", "Images whose outcome stands in the sink."),
    _metric("shards_committed", "counter", "", "", "Shards whose outcome file stands in the sink."),
    _metric("images_done_before", "gauge", "", "", "Images that an earlier run had finished."),
    _metric(
        "images_left", "gauge", "", "", "Listed images without an outcome; missing while the source is being listed."
    ),
    _metric("images_in_flight", "gauge", "", "", "Images that are admitted and have no outcome."),
    _metric("draining", "gauge", "", "", "1 while the job stops: nothing is admitted, what is in flight is finished."),
    _metric("uptime_seconds", "gauge", "seconds", "", "Since the start of the run."),
    _metric("cost", "gauge", "currency", "", "Hours of this run times price_per_hour; missing when no price is set."),
    # Stages.
    _metric("stage_items", "counter", "", "stage", "Items that a stage finished; its rate is the stage's."),
    _metric("stage_calls", "counter", "", "stage", "Calls that were sent to the workers of a stage."),
    _metric("stage_call_items", "counter", "", "stage", "Items in these calls: over stage_calls, the mean batch."),
    _metric("stage_batch_size", "gauge", "", "stage", "Items of a full batch now; the mean batch over it is the fill."),
    _metric(
        "stage_busy_seconds",
        "counter",
        "seconds",
        "stage device",
        "Time inside calls, of all workers: its rate over stage_workers is the busy share. device: cpu or cuda.",
    ),
    _metric("stage_workers", "gauge", "", "stage", "Workers that are up."),
    _metric("stage_queued", "gauge", "", "stage", "Items that wait for a worker."),
    _metric("stage_running", "gauge", "", "stage", "Items that workers hold."),
    _metric("stage_queue_bytes", "gauge", "bytes", "stage", "Decoded bytes of the items that wait for a batch."),
    _metric("stage_queue_age_seconds", "gauge", "seconds", "stage", "Wait of the item that has waited longest."),
    # Credits and memory.
    _metric("gate_held_bytes", "gauge", "bytes", "", "Credits taken: decoded bytes of the images in flight."),
    _metric("gate_capacity_bytes", "gauge", "bytes", "", "Credits that there are."),
    _metric("payload_bytes", "gauge", "bytes", "", "What the object store holds for images in flight."),
    _metric(
        "spilled_bytes",
        "gauge",
        "bytes",
        "",
        "What Ray's object store wrote to disk; 0 is right. Looked at every 30 s.",
    ),
    # Faults.
    _metric("call_retries", "counter", "", "", "Calls that were made again."),
    _metric("call_timeouts", "counter", "", "", "Workers killed because a call was over its deadline."),
    _metric("worker_deaths", "counter", "", "", "Workers that were replaced."),
    _metric(
        "store_errors",
        "counter",
        "",
        "kind",
        "Tries at the object store that failed and were or could be made again: throttled, server, network, damaged.",
    ),
    # Leases.
    _metric("shards_open", "gauge", "", "", "Shards that are offered and not closed."),
    _metric("lease_number", "gauge", "", "", "Number of the sink's run lease; each run that takes it adds one."),
    _metric("lease_age_seconds", "gauge", "seconds", "", "Since the run lease's last heartbeat was written."),
    # Several nodes.
    _metric("cells", "gauge", "", "state", "Cells of a job over several nodes: working, starting, silent."),
    _metric("cells_lost", "counter", "", "", "Cells that ended before their work did, or whose node was gone."),
    _metric("shards_leased_again", "counter", "", "", "Shards whose cell was lost or silent: another one did them."),
    _metric(
        "cell_silence_seconds",
        "gauge",
        "seconds",
        "",
        "Since the last sign of life of the cell silent for longest; from lease_seconds on, others do its shards.",
    ),
    # Endless input.
    _metric(
        "queue_messages", "counter", "", "what", "Messages: received, deleted, released, extended, lost_hold, given_up."
    ),
    _metric("queue_held", "gauge", "", "", "Messages in hand."),
    _metric("backlog_age_seconds", "gauge", "seconds", "", "Since the oldest message in hand came into the queue."),
    _metric(
        "event_to_matte_seconds",
        "gauge",
        "seconds",
        "quantile",
        "From an upload's event to the commit of its matte, last five minutes; quantile 0.5, 0.95 or 1.",
    ),
)

BY_NAME = {metric.name: metric for metric in CATALOGUE}
