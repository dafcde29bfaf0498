"""Uploads to a real S3 become events in a real queue, and mattes on real Ray: through a kill -9 and a SIGTERM."""

from __future__ import annotations

import io
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver_process import assert_gone, kill_driver
from event_server import EventServer
from PIL import Image
from s3_sink import S3Sink
from service_process import Service, outputs

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SAMPLES = ("astronaut.jpg", "grace-hopper.jpg", "catalogue/cup-on-white.jpg", "catalogue/mug.jpg")


@pytest.fixture(scope="module")
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server


@pytest.fixture(scope="module")
def photographs(sample_photos: Path) -> list[bytes]:
    """Sample photographs, made small."""
    small = []
    for name in SAMPLES:
        photo = Image.open(sample_photos / name).convert("RGB")
        photo.thumbnail((160, 160))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=90)
        small.append(data.getvalue())
    return small


def test_uploads_become_mattes_once_each_through_a_kill_and_a_sigterm(
    server: EventServer, photographs: list[bytes], tmp_path: Path
) -> None:
    queue = server.queue("uploads")
    server.bucket("shop", queue, prefix="photos/")
    server.bucket("mattes")
    etags: dict[str, str] = {}

    def upload(*names: str, turn: int = 0) -> None:
        for i, name in enumerate(names):
            body = photographs[(i + turn) % len(photographs)]
            answer = server.s3.put_object(Bucket="shop", Key=f"photos/{name}", Body=body)
            etags[f"s3://shop/photos/{name}"] = answer["ETag"].strip('"')

    first = Service(server, queue, tmp_path / "first", seconds=0.15)
    try:
        upload(*(f"a {i}.jpg" for i in range(10)))
        server.s3.put_object(Bucket="shop", Key="photos/read me.txt", Body=b"no photograph")
        server.sqs.send_message(QueueUrl=queue, MessageBody="hello")
        first.wait_until(lambda: outputs(server) >= 2, "two mattes")
        left = kill_driver(first.process)
    finally:
        first.process.kill()
    assert sum(server.messages(queue)) > 0, "all was done before the kill: nothing was tested"

    second = Service(server, queue, tmp_path / "second", seconds=0.05)
    try:
        upload(*(f"b {i}.jpg" for i in range(3)))
        upload("a 0.jpg", turn=1)
        second.wait_until(lambda: sum(server.messages(queue)) == 0, "the end of all messages")
        assert_gone(left)
        found = S3Sink.read(server.s3, "mattes", "out/")
        assert {key: row["etag"] for key, row in found.newest.items() if row["outcome"] == "matte"} == etags
        assert [row["reason"] for row in found.newest.values() if row["reason"]] == ["bad_message"]
        assert [reason for _, reason, _ in found.logged].count("bad_message") == 1
        assert set(found.rows.values()) == {1}, "a doubled row"

        def told() -> bool:
            events = second.progress["events"]
            return bool(events["held"] == 0 and events["latency_p50"])

        second.wait_until(told, "progress that tells of a latency and of nothing in hand")

        upload(*(f"c {i:02d}.jpg" for i in range(60)))
        second.wait_until(lambda: outputs(server) >= 15, "a matte of the last uploads")
        second.process.send_signal(signal.SIGTERM)
        out, _ = second.process.communicate(timeout=60)
    finally:
        second.process.kill()
    assert second.process.returncode == 0, (tmp_path / "second").read_text()
    summary = json.loads(out.splitlines()[-1])
    found = S3Sink.read(server.s3, "mattes", "out/")
    undone = etags.keys() - found.newest.keys()
    assert undone, "all was done before the signal: nothing was tested"
    assert server.messages(queue) == (len(undone), 0), "each that was not done waits for the next, the others are gone"
    assert set(found.rows.values()) == {1}, "a doubled row"
    assert found.outputs == {row["output_key"] for row in found.newest.values() if row["outcome"] == "matte"}
    assert Counter(row["outcome"] for row in found.newest.values()) == Counter(
        matte=len(etags) - len(undone), failure=1
    )
    assert summary["drained"] is True
    assert summary["events"]["held"] == 0
