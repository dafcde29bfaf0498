"""Both S3 clients in front of a server that misbehaves."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from faulty_proxy import Fault, FaultyProxy

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import (
    AlreadyThereError,
    ForbiddenError,
    MissingObjectError,
    StoreUnavailableError,
)
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.fast_s3_store import FastS3Store
from mattemill.pipeline.storage.retry import RetryPolicy
from mattemill.pipeline.storage.s3_client import S3Options
from mattemill.pipeline.storage.s3_store import S3Store
from mattemill.pipeline.storage.store import Store

JPEG = "image/jpeg"
DATA = bytes(range(256)) * 400
StoreThrough = Callable[..., Store]


@pytest.fixture(autouse=True)
def photo(direct: S3Store) -> None:
    direct.put("photos/a.jpg", DATA, content_type=JPEG)


@pytest.mark.parametrize("kind", ["slow_down", "internal", "cut_body", "stall", "damaged_body", "drop", "latency"])
def test_a_get_that_goes_wrong_three_times_succeeds_at_the_fourth(
    kind: str, store_through: StoreThrough, s3: EmbeddedS3
) -> None:
    fault = Fault(kind, "a.jpg", times=3, seconds=0.01 if kind == "latency" else 5.0)
    with FaultyProxy(s3.endpoint_url, fault) as proxy:
        blob = store_through(proxy.endpoint_url).get("photos/a.jpg")

        assert blob.data == DATA
        assert proxy.count("GET", "a.jpg") == (1 if kind == "latency" else 4)


@pytest.mark.parametrize("kind", ["slow_down", "internal", "cut_body", "stall", "drop"])
def test_a_get_that_keeps_going_wrong_ends_as_unavailable_and_says_where(
    kind: str, store_through: StoreThrough, s3: EmbeddedS3
) -> None:
    with FaultyProxy(s3.endpoint_url, Fault(kind, "a.jpg", times=None, seconds=5.0)) as proxy:
        with pytest.raises(StoreUnavailableError, match=r"photos/a\.jpg.*gave up after 4 tries"):
            store_through(proxy.endpoint_url).get("photos/a.jpg")

        assert proxy.count("GET", "a.jpg") == 4


@pytest.mark.parametrize("client", ["boto3", "obstore"])
def test_a_store_that_never_answers_is_asked_twice(client: str, bucket: str, s3: EmbeddedS3) -> None:
    faster = 0.5 / S3Options().read_timeout  # the defaults, all times shortened alike
    policy = RetryPolicy(give_up_after=RetryPolicy().give_up_after * faster)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = S3Options(f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.5, retry=policy)
        slow = S3Store(bucket, options)
        store = slow if client == "boto3" else FastS3Store(slow)
        silent.settimeout(0.1)
        _hang_ups(silent)  # what obstore asks about the bucket when it starts

        with pytest.raises(StoreUnavailableError, match="gave up after 1 tries"):
            store.get("a.jpg")

        assert _hang_ups(silent) == 2


def _hang_ups(server: socket.socket) -> int:
    """How many connections wait to be accepted; each is closed."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except TimeoutError:
            return count
        count += 1


def test_a_batch_whose_store_is_away_ends_well_within_the_time_of_a_call() -> None:
    config, options = JobConfig(), S3Options()
    rounds = math.ceil(config.fetch_batch / config.fetch_threads)
    never_answers = options.attempts * options.read_timeout + 1.0
    never_accepts = options.attempts * options.connect_timeout + 1.0
    body_stalls = options.read_timeout

    assert options.retry.give_up_after < never_answers - 1.0, "there is no second try of ours"
    assert options.retry.give_up_after < 2 * body_stalls, "there is no third try of ours"
    longest = max(
        never_answers, options.retry.give_up_after + never_accepts, 2 * body_stalls + options.retry.delay(1, 1.0)
    )
    assert rounds * longest <= 0.8 * config.call_timeout


@pytest.mark.parametrize(
    ("kind", "error"), [("forbidden", ForbiddenError), ("missing", MissingObjectError), ("expired", ForbiddenError)]
)
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    kind: str, error: type[Exception], store_through: StoreThrough, s3: EmbeddedS3
) -> None:
    with FaultyProxy(s3.endpoint_url, Fault(kind, "a.jpg", times=None)) as proxy:
        with pytest.raises(error, match=r"photos/a\.jpg"):
            store_through(proxy.endpoint_url).get("photos/a.jpg")

        assert proxy.count("GET", "a.jpg") == 1


def test_an_etag_that_is_no_md5_is_found_out_and_believed(
    store_through: StoreThrough, s3: EmbeddedS3, caplog: pytest.LogCaptureFixture
) -> None:
    """As with SSE-KMS: the body is always 'damaged' in the same way, so it is the ETag that means something else."""
    fault = Fault("same_damage", "a.jpg", times=None)
    with FaultyProxy(s3.endpoint_url, fault) as proxy, caplog.at_level(logging.WARNING):
        store = store_through(proxy.endpoint_url)

        assert len(store.get("photos/a.jpg").data) == len(DATA)
        assert proxy.count("GET", "a.jpg") == 2
        store.get("photos/a.jpg")
        assert proxy.count("GET", "a.jpg") == 3

    assert "etag_is_no_md5" in caplog.text


def test_a_body_that_is_short_by_its_own_account_is_read_again(store_through: StoreThrough, s3: EmbeddedS3) -> None:
    with FaultyProxy(s3.endpoint_url, Fault("short_body", "a.jpg")) as proxy:
        assert store_through(proxy.endpoint_url).get("photos/a.jpg").data == DATA


@pytest.mark.parametrize("kind", ["same_damage", "short_body"])
def test_the_same_damage_each_time_is_never_believed_once_etags_have_proved_to_be_md5s(
    kind: str, store_through: StoreThrough, s3: EmbeddedS3
) -> None:
    with FaultyProxy(s3.endpoint_url, Fault(kind, "a.jpg", times=None, skip=1)) as proxy:
        store = store_through(proxy.endpoint_url)
        assert store.get("photos/a.jpg").data == DATA

        with pytest.raises(StoreUnavailableError, match="damaged on its way"):
            store.get("photos/a.jpg")


@pytest.mark.parametrize("kind", ["slow_down", "internal", "drop", "lost_answer"])
def test_a_put_that_goes_wrong_is_tried_again_until_it_is_there(
    kind: str, store_through: StoreThrough, s3: EmbeddedS3, direct: S3Store
) -> None:
    with FaultyProxy(s3.endpoint_url, Fault(kind, "out", methods=("PUT",), times=2)) as proxy:
        store_through(proxy.endpoint_url).put("out.png", DATA, content_type="image/png")

    assert direct.get("out.png").data == DATA


def test_a_conditional_put_whose_answer_was_lost_says_already_there(
    store_through: StoreThrough, s3: EmbeddedS3, direct: S3Store
) -> None:
    fault = Fault("lost_answer", "out", methods=("PUT",))
    with FaultyProxy(s3.endpoint_url, fault) as proxy, pytest.raises(AlreadyThereError):
        store_through(proxy.endpoint_url).put("out.parquet", DATA, content_type=JPEG, if_absent=True)

    assert direct.get("out.parquet").data == DATA


def test_a_conflict_of_two_conditional_puts_is_tried_again_and_not_taken_for_done(
    store_through: StoreThrough, s3: EmbeddedS3, direct: S3Store
) -> None:
    with FaultyProxy(s3.endpoint_url, Fault("conflict", "out", methods=("PUT",), times=2)) as proxy:
        store_through(proxy.endpoint_url).put("out.parquet", DATA, content_type=JPEG, if_absent=True)

    assert direct.get("out.parquet").data == DATA


def test_a_listing_survives_a_page_that_fails(
    store_through: StoreThrough, s3: EmbeddedS3, direct: S3Store, bucket: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: direct.put(f"many/{n:04d}", b"x", content_type=JPEG), range(1005)))
    # The listing is the only GET of the bucket itself; its second page fails twice.
    fault = Fault("slow_down", f"^/{bucket}/?$", times=2, skip=1)
    with FaultyProxy(s3.endpoint_url, fault) as proxy:
        keys = [entry.key for entry in store_through(proxy.endpoint_url).list("many/")]

        assert keys == [f"many/{number:04d}" for number in range(1005)]
        assert proxy.count("GET", f"^/{bucket}/?$") == 4


def test_a_store_that_is_away_is_named_and_one_that_comes_back_in_time_is_waited_for(
    store_through: StoreThrough, s3: EmbeddedS3
) -> None:
    with FaultyProxy(s3.endpoint_url) as proxy:
        store = store_through(proxy.endpoint_url, RetryPolicy(tries=200, longest_delay=0.1, give_up_after=30.0))
        assert store.get("photos/a.jpg").data == DATA
        proxy.down()
        with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{proxy.port}"):
            store_through(proxy.endpoint_url).get("photos/a.jpg")

        back = threading.Timer(0.5, proxy.up)
        back.start()
        assert store.get("photos/a.jpg").data == DATA
        back.join()


def test_a_server_that_was_killed_and_restarted_has_everything_and_the_client_goes_on() -> None:
    with EmbeddedS3(["kept"]) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        store = S3Store("kept")
        store.put("a", DATA, content_type=JPEG)

        server.kill()
        server.restart()

        assert store.get("a").data == DATA
