"""What a failed call of a cell says of it: every class of the lists, in a built exception."""

from __future__ import annotations

import pytest
from ray import exceptions as ray

from mattemill.cluster.cells.crew import CELL_DIED, CellFault, fault_of_cell
from mattemill.cluster.ray_errors import NODE_GONE, PAYLOAD_LOST
from mattemill.pipeline.errors import ModelError

NODE_TEXT = "The actor died because its node has died. Node Id: 77"

EXAMPLES: list[tuple[BaseException, CellFault]] = [
    (ray.NodeDiedError("node 77"), CellFault.NODE_GONE),
    (ray.LocalRayletDiedError(), CellFault.NODE_GONE),
    (ray.ActorUnavailableError("no answer", None), CellFault.SILENT),
    (ray.ActorDiedError(), CellFault.DIED),
    (ray.WorkerCrashedError(), CellFault.DIED),
    (ray.OutOfMemoryError("too much"), CellFault.DIED),
    (ray.ObjectLostError("ff", None, ""), CellFault.REPLY_LOST),
    (ray.ObjectFetchTimedOutError("ff", None, ""), CellFault.REPLY_LOST),
    (ray.ObjectFreedError("ff", None, ""), CellFault.REPLY_LOST),
    (ray.ObjectReconstructionFailedError("ff", reason=None), CellFault.REPLY_LOST),
    (ray.OwnerDiedError("ff", None, ""), CellFault.REPLY_LOST),
    (ray.ReferenceCountingAssertionError("ff", None, ""), CellFault.REPLY_LOST),
    (ValueError("bad"), CellFault.BROKEN),
    (ray.RaySystemError("odd"), CellFault.BROKEN),
    (ray.RayTaskError("start", "trace", ModelError("other networks"), "p", 1, "ip"), CellFault.BROKEN),
]


@pytest.mark.parametrize(("error", "fault"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_what_a_failed_call_of_a_cell_means(error: BaseException, fault: CellFault) -> None:
    assert fault_of_cell(error) is fault


def test_every_listed_class_has_an_example() -> None:
    listed = {*NODE_GONE, *CELL_DIED, *PAYLOAD_LOST, ray.ActorUnavailableError}

    assert listed <= {type(error) for error, _ in EXAMPLES}


def test_a_cell_that_died_with_its_node_may_still_work_beyond_a_cut_network() -> None:
    error = ray.ActorDiedError()
    error.error_msg = NODE_TEXT

    assert fault_of_cell(error) is CellFault.NODE_GONE


def test_a_cell_whose_node_was_taken_away_is_gone_with_it() -> None:
    error = ray.ActorDiedError()
    error._preempted = True

    assert error.preempted
    assert fault_of_cell(error) is CellFault.NODE_GONE


def test_an_error_out_of_a_cell_that_quotes_a_dead_node_is_still_the_cells_own() -> None:
    assert fault_of_cell(RuntimeError(NODE_TEXT)) is CellFault.BROKEN
