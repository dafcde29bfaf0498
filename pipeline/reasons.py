"""The closed list of reasons for which an image can fail.

The value of a reason is what stands in the outcome rows, the failure log and its partition names: never
rename or reuse one. A sentence for each is in `SENTENCES`; the README's table is checked against it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an image ended as a `Failure`."""

    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    CHANGED_WHILE_READING = "changed_while_reading"
    READ_FAILED = "read_failed"
    NO_SUBJECT = "no_subject"
    LOW_CONFIDENCE = "low_confidence"
    WORKER_DIED = "worker_died"
    TIMED_OUT = "timed_out"
    STORE_FAILED = "store_failed"
    INTERNAL_ERROR = "internal_error"
    BAD_MESSAGE = "bad_message"


SENTENCES: dict[Reason, str] = {
    Reason.UNDECODABLE: "The file says it is an image of a supported type, but its pixels cannot be decoded.",
    Reason.TRUNCATED: "The file ends before its image does: an upload that was cut off.",
    Reason.TOO_LARGE: "The file or its decoded size is over the limit; checked on the header, before any pixel.",
    Reason.UNSUPPORTED_TYPE: "The bytes are not a JPEG, PNG, WebP, TIFF, BMP or GIF, whatever the name says.",
    Reason.MISSING: "The object was not there when it was read (404).",
    Reason.FORBIDDEN: "The credentials of the job may not read the object (403).",
    Reason.CHANGED_WHILE_READING: "Replaced between listing and reading; the next run takes the new object.",
    Reason.READ_FAILED: "The store kept answering with errors, timeouts or cut bodies after all retries.",
    Reason.NO_SUBJECT: "No subject was found: the saliency stays below the threshold everywhere.",
    Reason.LOW_CONFIDENCE: "A matte was made, but its quality score is below the threshold; a person should look.",
    Reason.WORKER_DIED: "The worker process died on this image alone, twice (a crash in native code, out of memory).",
    Reason.TIMED_OUT: "The image alone took longer than the limit for one call of a stage.",
    Reason.STORE_FAILED: "The matte was made, but could not be written to the sink after all retries.",
    Reason.INTERNAL_ERROR: "An unexpected exception on this image alone; the message holds it. Please report it.",
    Reason.BAD_MESSAGE: "Only with `serve`: the message is no S3 event, or it came back too often; it is deleted.",
}
