"""The generator against a server that answers, refuses, dawdles and breaks off."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from load.odd_server import Writer, odd_server, response
from serving.load.figures import Figures
from serving.load.loops import closed_loop, open_loop
from serving.load.wire import BadUrl, Connection, Failed, Target

Behave = Callable[[int, Writer], Awaitable[None]]
REQUEST = Target("h", 1, False, "").request("POST", "/x", {"A": "b"}, b"12345")


async def fine(number: int, writer: Writer) -> None:
    writer.write(response())


def closed(behave: Behave, **how: Any) -> Figures:
    async def run() -> Figures:
        async with odd_server(behave) as target:
            given = {"connections": 2, "seconds": 0.3, "warm_up": 0, "timeout": 5, **how}
            return await closed_loop(target, [REQUEST], **given)

    return asyncio.run(run())


def opened(behave: Behave, **how: Any) -> Figures:
    async def run() -> Figures:
        async with odd_server(behave) as target:
            given = {"rate": 100, "seconds": 0.5, "warm_up": 0, "timeout": 5, "seed": None, **how}
            return await open_loop(target, [REQUEST], **given)

    return asyncio.run(run())


def asked(answer: bytes, *, then_close: bool = False, **how: Any) -> Any:
    async def run() -> Any:
        async def behave(number: int, writer: Writer) -> None:
            for byte in range(0, len(answer), 7):  # in pieces that cut every line
                writer.write(answer[byte : byte + 7])
                await writer.drain()
            if then_close:
                writer.close()

        async with odd_server(behave) as target:
            connection = Connection(target)
            try:
                return await connection.ask(REQUEST, timeout=0.5, keep=True)
            finally:
                connection.close()

    return asyncio.run(run())


def test_a_request_is_written_as_http_wants_it() -> None:
    target = Target.parse("http://[::1]:8080/base/")
    assert target == Target("::1", 8080, False, "/base")
    assert target.request("POST", "/x", {"A": "b"}, b"12") == (
        b"POST /base/x HTTP/1.1\r\nHost: [::1]:8080\r\nA: b\r\nContent-Length: 2\r\n\r\n12"
    )
    assert Target.parse("localhost:3000") == Target("localhost", 3000, False, "")
    assert Target.parse("https://a.example") == Target("a.example", 443, True, "")
    for url in ("ftp://a", "http://", "http://a:no", "http://a:99999", "http://[::1", ""):
        with pytest.raises(BadUrl):
            Target.parse(url)


def test_answers_of_every_framing_are_read() -> None:
    assert asked(response(200, b"all of it")).body == b"all of it"
    assert asked(response(503, b"", Retry_After="2")).retry_after == 2
    chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert asked(head + chunks).body == b"abcde"
    assert asked(b"HTTP/1.0 200 OK\r\n\r\nto the end", then_close=True).body == b"to the end"
    assert asked(b"HTTP/1.1 100 Continue\r\n\r\n" + response(200, b"x")).body == b"x"
    assert asked(b"HTTP/1.1 204 No Content\r\n\r\n").status == 204


@pytest.mark.parametrize(
    ("answer", "then_close", "kind"),
    [
        (b"SSH-2.0-hello\r\n", False, "malformed"),
        (b"HTTP/1.1 two hundred\r\n\r\n", False, "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ntoo long", False, "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", True, "reset"),
        (b"", True, "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", False, "timeout"),
    ],
)
def test_what_is_no_answer_is_named(answer: bytes, then_close: bool, kind: str) -> None:
    with pytest.raises(Failed) as failed:
        asked(answer, then_close=then_close)
    assert failed.value.kind == kind


def test_a_port_that_nobody_listens_at_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = Target("127.0.0.1", probe.getsockname()[1], False, "")

    async def run() -> Figures:
        return await closed_loop(target, [REQUEST], connections=2, seconds=0.2, warm_up=0)

    figures = asyncio.run(run())
    assert set(figures.failures) == {"refused"}
    assert 2 <= figures.failures["refused"] <= 60  # and it was not hammered
    assert (figures.goodput, figures.latency) == (0, {})


def test_statuses_are_counted_and_the_first_refusal_is_kept() -> None:
    async def behave(number: int, writer: Writer) -> None:
        if number % 2:
            writer.write(response(429, b"too many", Retry_After="1.5"))
        else:
            writer.write(response())

    figures = closed(behave, images=3)
    assert set(figures.statuses) == {200, 429}
    assert abs(figures.statuses[200] - figures.statuses[429]) <= 2
    assert figures.sent == sum(figures.statuses.values()) > 10
    assert 0 < figures.goodput < figures.throughput
    assert figures.images_per_second == pytest.approx(3 * figures.goodput)
    assert figures.retry_after == (1.5, 1.5)
    assert figures.refusal == "429: too many"
    assert set(figures.latency) == {"2xx", "4xx"}


def test_connections_that_break_are_opened_again() -> None:
    async def behave(number: int, writer: Writer) -> None:
        if number % 3 == 2:
            writer.transport.abort()
        else:
            writer.write(response())

    figures = closed(behave)
    assert figures.failures["reset"] >= 2
    assert figures.statuses[200] >= 4


def test_a_server_that_closes_after_each_answer_is_no_failure() -> None:
    async def behave(number: int, writer: Writer) -> None:
        writer.write(response(Connection="close"))
        await writer.drain()
        writer.close()

    figures = closed(behave)
    assert figures.failures == {}
    assert figures.statuses[200] > 4


def test_a_server_that_hangs_counts_as_timeouts() -> None:
    async def behave(number: int, writer: Writer) -> None:
        await asyncio.sleep(1)

    figures = closed(behave, timeout=0.1)
    assert set(figures.failures) == {"timeout"}


def test_the_warm_up_is_not_counted() -> None:
    async def behave(number: int, writer: Writer) -> None:
        await asyncio.sleep(1 if number < 2 else 0)
        writer.write(response())

    assert closed(behave, warm_up=1.2).latency["2xx"].max < 900
    assert closed(behave).latency["2xx"].max > 900


def test_an_open_loop_sends_by_the_clock() -> None:
    figures = opened(fine)
    assert figures.sent == 50
    assert figures.statuses == {200: 50}
    assert figures.throughput == pytest.approx(100, rel=0.3)


def test_a_stall_is_charged_to_all_that_were_due_meanwhile() -> None:
    """A server that answers one at a time, and stands still for 0.3 s once: a closed loop would
    show one slow answer per connection, and here 30 requests were due."""
    lock = asyncio.Lock()

    async def behave(number: int, writer: Writer) -> None:
        async with lock:
            await asyncio.sleep(0.3 if number == 10 else 0)
            writer.write(response())

    figures = opened(behave)
    assert figures.sent == 50
    waits = figures.latency["2xx"]
    assert waits.max > 290
    assert waits.p50 > 30  # more than half of 50 were due during the stall
    assert figures.unsent == 0


def test_lateness_of_the_generator_itself_is_in_the_latency() -> None:
    async def behave(number: int, writer: Writer) -> None:
        if number == 10:
            time.sleep(0.2)  # the server shares the generator's thread: it stands still too
        writer.write(response())

    figures = opened(behave)
    assert figures.late_ms > 150
    assert figures.latency["2xx"].max > 150
    assert figures.sent == 50


def test_requests_beyond_those_that_may_be_in_flight_are_reported() -> None:
    async def behave(number: int, writer: Writer) -> None:
        await asyncio.sleep(1)
        writer.write(response())

    figures = opened(behave, in_flight=5)
    assert (figures.sent, figures.unsent) == (5, 45)
    assert figures.goodput == 0  # their answers came after the window
    assert figures.statuses == {200: 5}
