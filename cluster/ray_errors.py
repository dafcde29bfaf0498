"""Exactly which Ray exceptions mean what. The lists are closed; a test holds them against Ray's own.

Anything else that a call raises came out of the stage.
"""

from __future__ import annotations

from ray import exceptions as ray

from mattemill.cluster.actions import Fault
from mattemill.pipeline.errors import EngineError

WORKER_DIED: tuple[type[BaseException], ...] = (
    ray.ActorDiedError,
    ray.ActorUnavailableError,  # it may come back, but nobody knows what it did: it is killed and replaced
    ray.WorkerCrashedError,
    ray.OutOfMemoryError,  # Ray's memory monitor killed it
)
"""The process that ran the call is gone, or must be taken for gone."""

NODE_GONE: tuple[type[BaseException], ...] = (ray.NodeDiedError, ray.LocalRayletDiedError)
"""The machine is gone: not the fault of what ran on it."""

PAYLOAD_LOST: tuple[type[BaseException], ...] = (
    ray.ObjectLostError,
    ray.ObjectFetchTimedOutError,
    ray.ObjectFreedError,
    ray.ObjectReconstructionFailedError,
    ray.OwnerDiedError,
    ray.ReferenceCountingAssertionError,
)
"""An input of the call is no longer in any object store."""

NO_PLACE: tuple[type[BaseException], ...] = (
    ray.ActorUnschedulableError,
    ray.TaskUnschedulableError,
    ray.RuntimeEnvSetupError,
)
"""A worker can never start as it was asked for."""

_NODE_DIED = "node has died"  # what an ActorDiedError says when its machine is the cause; Ray has no flag for it


def fault_of(error: BaseException) -> Fault:
    """What a failed call means for its worker and its images."""
    if isinstance(error, NODE_GONE):
        return Fault.EVICTED
    if isinstance(error, WORKER_DIED):
        preempted = isinstance(error, ray.RayActorError) and (error.preempted or _NODE_DIED in str(error))
        return Fault.EVICTED if preempted else Fault.DIED
    if isinstance(error, PAYLOAD_LOST):
        return Fault.LOST
    if isinstance(cause_of(error), EngineError):
        return Fault.SICK
    return Fault.RAISED


def cause_of(error: BaseException) -> BaseException:
    """The exception that the stage raised, out of Ray's wrapping."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(error, ray.RayTaskError) and isinstance(cause, BaseException) else error


def describe(error: BaseException) -> str:
    """One line for a person: the kind of the exception and its text."""
    cause = cause_of(error)
    text = " ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    return f"{type(cause).__name__}: {text}"[:600]
