"""The lists of Ray exceptions, held against Ray's own."""

from __future__ import annotations

import pickle

import pytest
from ray import exceptions as ray

from mattemill.cluster.actions import Fault
from mattemill.cluster.ray_errors import NO_PLACE, NODE_GONE, PAYLOAD_LOST, WORKER_DIED, cause_of, describe, fault_of
from mattemill.pipeline.errors import EngineError

NOT_A_FAULT_OF_OURS = {
    "ActorAlreadyExistsError": "named actors, of which we make none",
    "ActorHandleNotFoundError": "named actors, of which we make none",
    "ActorPlacementGroupRemoved": "placement groups, which we do not use",
    "AsyncioActorExit": "asyncio actors, which we do not use",
    "AuthenticationError": "raised at the start of Ray, not by a call",
    "CrossLanguageError": "Java and C++ callers",
    "GetTimeoutError": "ray.get with a timeout, which we do not call",
    "ObjectRefStreamEndOfStreamError": "streaming generators, which we do not use",
    "ObjectStoreFullError": "a return value did not fit: the batch is bisected, halves may",
    "OutOfDiskError": "a return value did not fit: the batch is bisected, halves may",
    "OufOfBandObjectRefSerializationException": "references inside values, which we do not send",
    "PendingCallsLimitExceeded": "max_pending_calls, which we do not set",
    "PlasmaObjectNotAvailable": "internal to Ray, never raised to a caller",
    "RayActorError": "the base of two that are listed",
    "RayChannelError": "Compiled Graphs, which we do not use",
    "RayChannelTimeoutError": "Compiled Graphs, which we do not use",
    "RayCgraphCapacityExceeded": "Compiled Graphs, which we do not use",
    "RayDirectTransportError": "Ray Direct Transport, which we do not use",
    "RayError": "the base of all",
    "RaySystemError": "a value that cannot be deserialised: an exception of that batch",
    "RayTaskError": "an exception of the stage: bisected",
    "RpcError": "internal to Ray's clients",
    "StreamingGeneratorReplayInconsistentError": "streaming generators, which we do not use",
    "TaskCancelledError": "ray.cancel, which we do not call",
    "TaskPlacementGroupRemoved": "placement groups, which we do not use",
    "UnserializableException": "an exception of the stage: bisected",
    "UserCodeException": "an exception of the stage: bisected",
}


def test_every_exception_of_ray_is_listed_as_one_fault_or_said_to_be_none() -> None:
    listed = [error for group in (WORKER_DIED, NODE_GONE, PAYLOAD_LOST, NO_PLACE) for error in group]
    assert len(listed) == len(set(listed))
    names = {error.__name__ for error in listed}
    theirs = {
        name
        for name, value in vars(ray).items()
        if isinstance(value, type) and issubclass(value, ray.RayError) and value.__module__ == ray.__name__
    }
    assert theirs - names - set(NOT_A_FAULT_OF_OURS) == set(), "a new Ray has new exceptions: what do they mean?"
    assert names & set(NOT_A_FAULT_OF_OURS) == set()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ray.ActorDiedError(), Fault.DIED),
        (ray.ActorUnavailableError("gone for now", None), Fault.DIED),
        (ray.WorkerCrashedError(), Fault.DIED),
        (ray.OutOfMemoryError("too much"), Fault.DIED),
        (ray.NodeDiedError("node"), Fault.EVICTED),
        (ray.LocalRayletDiedError(), Fault.EVICTED),
        (ray.ObjectLostError("ff", None, ""), Fault.LOST),
        (ray.OwnerDiedError("ff", None, ""), Fault.LOST),
        (ray.ObjectFreedError("ff", None, ""), Fault.LOST),
        (ValueError("bad"), Fault.RAISED),
        (EngineError("u2netp: nan"), Fault.SICK),
        (ray.RayTaskError("call", "trace", EngineError("u2netp: nan"), "p", 1, "ip"), Fault.SICK),
        (ray.RayTaskError("call", "trace", KeyError("x"), "p", 1, "ip"), Fault.RAISED),
        (
            ray.RayTaskError("call", "trace", ray.ObjectLostError("ff", None, ""), "p", 1, "ip").as_instanceof_cause(),
            Fault.LOST,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_a_failed_call_means(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_an_actor_that_died_with_its_node_is_nobodys_fault() -> None:
    error = ray.ActorDiedError()
    error.error_msg = "The actor died because its node has died. Node Id: 77"
    assert fault_of(error) is Fault.EVICTED


def test_a_message_is_one_line_with_the_kind_of_the_exception() -> None:
    wrapped = ray.RayTaskError("call", "Traceback...", ValueError("first\n  second"), "p", 1, "ip")
    assert describe(wrapped.as_instanceof_cause()) == "ValueError: first second"
    assert isinstance(cause_of(wrapped), ValueError)
    assert len(describe(ValueError("x" * 5000))) <= 600


def test_our_own_errors_cross_processes() -> None:
    for error in (EngineError("nan"), ValueError("x")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
