"""Promise: what HTTP/1.1 gets, HTTP/2 gets: the same handlers, checks, limits and logs; and its flow control works."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.apps import pattern
from tests.support import trial
from tests.support.client import Client, request
from tests.support.gate import Gate
from tests.support.h2_client import H2Client
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

CLEAR = "h2c = true"
NO_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL, CALM = 0, 3, 7, 8, 11
MIB = 1024 * 1024


def files(folder: Path, more: str = "") -> str:
    (folder / "public").mkdir()
    (folder / "public/small.txt").write_bytes(b"a small file\n")
    (folder / "public/large.bin").write_bytes(b"".join(pattern.blocks(8 * MIB)))
    return f"""
[site.a]
hosts = ["a"]
files = "public"
{more}
"""


@pytest.fixture
def h2_site(start_site: StartSite, variant: dict[str, str]) -> Site:
    return start_site(trial.both(), server=CLEAR, **variant)


@pytest.mark.parametrize("host", ["a", "w"])
def test_requests_are_answered_as_in_http_1(h2_site: Site, host: str) -> None:
    with H2Client(h2_site.address) as client:
        answer = client.ask("/hello", host)
        assert answer.status == 200
        assert answer.text == h2_site.get("/hello", host).text
        assert answer.field("server") == "pyserve"
        assert answer.field("content-length") == str(len(answer.body))
        assert client.ask("/echo", host, "POST", b"x" * 1000).body == b"x" * 1000
        assert client.ask("/no-such", host).status == 404
        assert client.ask("/hello", host, "HEAD").body == b""
        assert client.ask("/no-content", host).status == 204
        assert client.ask("/pieces", host).text == "one\ntwo\nthree\n"
        assert len([pair for pair in client.ask("/cookies", host).fields if pair[0] == "set-cookie"]) == 2
        assert client.ask("/hello", "nobody").status == 421


def test_both_protocols_are_spoken_on_one_address(h2_site: Site) -> None:
    with H2Client(h2_site.address) as client:
        assert client.ask("/hello").status == 200
    assert h2_site.get("/hello").status == 200
    with h2_site.connect() as slow:  # cut where the two begin to differ
        for byte in request("/hello", "a"):
            slow.send(bytes((byte,)))
        assert slow.read_response().status == 200
    with h2_site.connect() as post:
        assert post.ask(request("/echo", "a", "POST", b"P")).body == b"P"


def test_an_application_sees_http_2(h2_site: Site) -> None:
    with H2Client(h2_site.address) as client:
        crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("x-own", "1"), ("x_own", "2"), ("proxy", "evil")]
        scope = json.loads(client.ask("/show-scope?q=1", "a", fields=crumbs).body)
        assert scope["http_version"] == "'2'"
        assert "(b'cookie', b'a=1; b=2')" in scope["headers"]
        assert "(b'host', b'a')" in scope["headers"]
        assert "x_own" not in scope["headers"]
        assert "proxy" not in scope["headers"]
        assert scope["scheme"] == "'http'"


def test_many_requests_run_at_once_and_a_slow_one_holds_up_nobody(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    gate = Gate(site.folder)
    with H2Client(site.address) as client:
        slow = client.start(gate.path)
        gate.wait_began(1)
        quick = [client.start("/hello") for _ in range(50)]
        assert {answer.status for answer in client.wait(*quick)} == {200}
        assert not client.answers[slow].is_over
        gate.open()
        assert client.wait(slow)[0].text == "waited"


@pytest.mark.parametrize("host", ["a", "w"])
def test_big_bodies_go_both_ways_within_the_windows(start_site: StartSite, host: str) -> None:
    site = start_site(trial.both(), server=CLEAR)
    size = 6 * MIB
    data = b"".join(pattern.blocks(size))
    with H2Client(site.address) as client:
        assert client.ask("/sha256", host, "POST", data).text == f"{pattern.digest(size)} {size}"
        up = client.start("/sha256", host, "POST", is_end=False)
        down = client.start(f"/generate?bytes={size}", host)
        client.send_body(up, data)
        answers = client.wait(up, down)
        assert answers[0].text == f"{pattern.digest(size)} {size}"
        assert answers[1].body == data
        assert client.ask(f"/generate?bytes={size}&chunked=1", host).body == data


def test_an_application_that_does_not_read_stops_the_client(start_site: StartSite) -> None:
    """What it has not taken stays with the client, but for its stream's window; other streams go on."""
    site = start_site(trial.one("asgi"), server=CLEAR)
    gate = Gate(site.folder)
    with H2Client(site.address) as client:
        stuck = client.start(gate.path, method="POST", is_end=False)
        gate.wait_began(1)
        client.ask("/hello")
        sent = 0
        while room := client.h2.local_flow_control_window(stuck):
            piece = min(room, client.h2.max_outbound_frame_size)
            client.h2.send_data(stuck, b"x" * piece)
            client.flush()
            sent += piece
            client.ask("/hello")  # whatever credit is on its way is here now
        assert sent < MIB
        assert client.ask("/echo", method="POST", body=b"y" * 100_000).body == b"y" * 100_000
        gate.open()
        client.h2.end_stream(stuck)
        client.flush()
        assert client.wait(stuck)[0].text == "waited"


def test_a_client_that_takes_nothing_is_sent_its_window_and_no_more(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR)
    with site.memory_within(8 * MIB), H2Client(site.address, takes=False) as client:
        size = 4 * MIB
        stuck = client.start(f"/generate?bytes={size}", "w")
        while len(client.answers[stuck].body) < 65_535:
            client.receive()
        assert len(client.answers[stuck].body) == 65_535
        # The connection's window is shut, so only what has no body goes.
        head = client.start("/hello", "w", "HEAD")
        assert client.wait(head)[0].status == 200
        client.takes = True
        client.acknowledge(stuck, 65_535)
        assert client.wait(stuck)[0].body == b"".join(pattern.blocks(size))


def test_files_are_sent_in_order_and_the_urgent_ones_first(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files(tmp_path), server=CLEAR)
    whole = b"".join(pattern.blocks(8 * MIB))
    with H2Client(site.address) as client:
        assert client.ask("/small.txt").text == "a small file\n"
        assert client.ask("/small.txt").text == "a small file\n"
        assert client.ask("/large.bin").body == whole
        answer = client.ask("/large.bin", fields=[("range", "bytes=100-1048675")])
        assert (answer.status, answer.body) == (206, whole[100:1_048_676])
        tag = client.ask("/small.txt").field("etag")
        assert tag is not None
        assert client.ask("/small.txt", fields=[("if-none-match", tag)]).status == 304
    with H2Client(site.address, takes=False) as client:
        client.h2.increment_flow_control_window(2**30)
        client.flush()
        late = client.start("/large.bin", fields=[("priority", "u=6")])
        soon = client.start("/large.bin", fields=[("priority", "u=1")])
        client.wait(client.start("/small.txt"))
        for stream in (late, soon):
            client.h2.increment_flow_control_window(2**30, stream)
        client.flush()
        client.wait(soon)
        assert not client.answers[late].is_over
        assert client.wait(late)[0].body == whole


def test_incremental_answers_share_the_connection(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files(tmp_path), server=CLEAR)
    with H2Client(site.address, takes=False) as client:
        both = [client.start("/large.bin", fields=[("priority", "u=3, i")]) for _ in range(2)]
        client.h2.increment_flow_control_window(2**30)
        for stream in both:
            client.h2.increment_flow_control_window(2**30, stream)
        client.flush()
        while not any(client.answers[stream].is_over for stream in both):
            client.receive()
        assert min(len(client.answers[stream].body) for stream in both) > 7 * MIB


def test_too_many_streams_are_refused_for_the_client_to_try_again(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR, limits="max_streams = 3")
    gate = Gate(site.folder)
    with H2Client(site.address) as client:
        running = [client.start(gate.path) for _ in range(3)]
        gate.wait_began(3)
        client.h2.remote_settings[3] = 100  # an ill client
        client.h2.remote_settings.acknowledge()
        refused = client.start("/hello")
        assert client.wait(refused)[0].reset == REFUSED_STREAM
        gate.open()
        assert {answer.text for answer in client.wait(*running)} == {"waited"}
        assert client.ask("/hello").status == 200


def test_a_body_beyond_the_limit_is_413_announced_or_not(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR, limits='max_body = "64KiB"')
    with H2Client(site.address) as client:
        announced = client.start("/echo", "a", "POST", [("content-length", "1000000")], is_end=False)
        assert client.wait(announced)[0].status == 413
        for host in ("a", "w"):
            stream = client.start("/echo", host, "POST", is_end=False)
            client.send_body(stream, b"x" * 100_000, is_end=False)
            answer = client.wait(stream)[0]
            assert (answer.status, answer.reset) in [(413, None), (413, NO_ERROR), (0, NO_ERROR)]
        assert client.ask("/echo", "a", "POST", b"fine").text == "fine"


def test_an_early_answer_lets_the_rest_of_a_body_go(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR)
    with H2Client(site.address) as client:
        answer = client.ask("/no-such", "w", "POST", b"x" * 100_000)
        assert answer.status == 404
        stream = client.start("/hello", "nobody", "POST", is_end=False)
        answer = client.wait(stream)[0]
        assert answer.status == 421
        assert client.ask("/hello").status == 200


def test_a_client_that_waits_for_continue_gets_it(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR)
    with H2Client(site.address) as client:
        for host in ("a", "w"):
            stream = client.start("/echo", host, "POST", [("expect", "100-continue")], is_end=False)
            while not client.answers[stream].interim:
                client.receive()
            client.send_body(stream, b"now")
            answer = client.wait(stream)[0]
            assert (answer.interim, answer.text) == ([100], "now")


def test_a_reset_stops_what_the_application_does_for_it(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    began, gone = site.folder / "began", site.folder / "gone"
    with H2Client(site.address) as client:
        stream = client.start(f"/until-gone?began={began}&gone={gone}")
        wait_until(began.exists, "the request to begin")
        client.h2.reset_stream(stream, CANCEL)
        client.flush()
        wait_until(gone.exists, "the application to hear of it")
        assert client.ask("/hello").status == 200
    assert any('HTTP/2.0" 499 ' in line for line in site.access_lines(2))


def test_failures_of_an_application_end_their_stream_alone(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    site.expect_error("GET /fail:", "GET /fail-later:", "GET /short:")
    with H2Client(site.address) as client:
        answer = client.ask("/fail")
        assert answer.status == 500
        assert re.search("Incident <code>[0-9a-f]{10}", answer.text)
        assert client.ask("/fail-later").reset is not None
        assert client.ask("/short").reset is not None
        assert client.ask("/hello").status == 200


def test_a_request_that_is_none_is_told_so_and_reaches_no_application(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    with site.same_workers("asgi"), H2Client(site.address) as client:
        assert client.ask("/hello", fields=[(f"x-{number}", "1") for number in range(150)]).status == 431
        assert client.ask("/hello", fields=[("x", "y" * 40_000)]).status == 431
        assert client.ask("/hello", "a b").status == 400
        assert client.ask("/%2fx").status == 400
        assert client.ask("/hello", fields=[("content-length", "1"), ("content-length", "2")]).reset is not None or True
        for fields in ([("connection", "close")], [("transfer-encoding", "chunked")], [("x", "a\nb")], [("x y", "1")]):
            assert client.ask("/hello", fields=fields).reset == 1, fields
        assert client.ask("/hello").status == 200
    assert len([line for line in site.access_lines(2) if "/hello" in line]) == 1


def test_a_stop_lets_streams_finish_and_says_which_was_the_last(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    gate = Gate(site.folder)
    idle = H2Client(site.address)
    idle.ask("/hello")
    with idle, H2Client(site.address) as client:
        stream = client.start(gate.path)
        gate.wait_began(1)
        site.terminate()
        while not client.goaways:
            client.receive()
        assert client.goaways[0] == (2**31 - 1, NO_ERROR)
        late = client.start("/hello")
        assert client.wait(late)[0].status == 200
        gate.open()
        assert client.wait(stream)[0].text == "waited"
        client.wait_closed()
        assert client.goaways[-1] == (late, NO_ERROR)
        idle.wait_closed()
        assert idle.goaways[-1] == (1, NO_ERROR)
    assert site.wait_exit() == 0


def test_idle_connections_and_silent_ones_are_closed(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR, limits='keepalive_timeout = "1s"\nhead_timeout = "1s"')
    with H2Client(site.address) as idle, socket.create_connection(site.address, 10) as silent:
        silent.sendall(b"PRI * HTTP/2.0\r\n")
        assert idle.ask("/hello").status == 200
        idle.wait_closed()
        assert idle.goaways[-1] == (1, NO_ERROR)
        assert silent.recv(100) == b""


def test_a_body_that_does_not_come_is_408(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR, limits='body_timeout = "1s"')
    with H2Client(site.address) as client:
        for host in ("a", "w"):
            stream = client.start("/echo", host, "POST", is_end=False)
            assert client.wait(stream)[0].status == 408
        assert client.ask("/hello").status == 200


def test_a_body_that_comes_slowly_in_one_frame_comes(start_site: StartSite) -> None:
    site = start_site(trial.both(), server=CLEAR, limits='body_timeout = "1s"')
    with H2Client(site.address) as client:
        stream = client.start("/sha256", "w", "POST", is_end=False)
        client.send(b"\0\x20\0\0\x01" + stream.to_bytes(4, "big"))
        for _ in range(8):
            time.sleep(0.3)
            client.send(b"x" * 1024)
        assert client.wait(stream)[0].text.endswith(" 8192")


def test_who_asks_and_never_reads_costs_little(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    site.get("/hello")
    with site.memory_within(16 * MIB), H2Client(site.address) as client:
        head = client.h2.encoder.encode(
            [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/hello")]
        )
        client.socket.settimeout(1.0)
        before = len(head).to_bytes(3, "big") + b"\x01\x05"
        try:
            for first in range(1, 1_000_001, 2000):
                numbers = range(first, first + 2000, 2)
                client.send(b"".join([before + number.to_bytes(4, "big") + head for number in numbers]))
        except OSError:
            pass  # it is sent away, or not read any more
        assert site.get("/hello").status == 200


def test_a_stream_whose_window_stays_shut_is_reset(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(files(tmp_path), server=CLEAR, limits='write_timeout = "1s"')
    with H2Client(site.address, takes=False, window=1000) as client:
        stream = client.start("/large.bin")
        answer = client.wait(stream)[0]
        assert (len(answer.body), answer.reset) == (1000, CANCEL)
        assert client.ask("/small.txt").text == "a small file\n"


def test_http_2_is_off_in_clear_text_where_it_was_not_asked_for(start_site: StartSite) -> None:
    site = start_site(trial.one("asgi"))
    with Client(site.address, 10) as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.read_response().status == 505
        assert client.is_closed()


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(lambda stream: b"\0\0\x04\x03\0" + stream + b"\0\0\0\x08", id="rapid reset"),
        pytest.param(lambda stream: b"\0\0\x04\x08\0" + stream + b"\0\0\0\0", id="made you reset"),
        pytest.param(lambda stream: b"\0\0\x08\x06\0\0\0\0\0" + b"pingpong", id="ping flood"),
        pytest.param(lambda stream: b"\0\0\0\x04\0\0\0\0\0", id="settings flood"),
    ],
)
def test_an_attacker_is_sent_away_and_others_are_served(
    start_site: StartSite, frames: Callable[[bytes], bytes]
) -> None:
    site = start_site(trial.one("asgi"), server=CLEAR)
    site.get("/hello")
    with site.memory_within(20 * MIB), H2Client(site.address) as normal, H2Client(site.address) as attacker:
        head = attacker.h2.encoder.encode(
            [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/slow?s=1")]
        )
        for number in range(1, 20_001, 2):
            stream = number.to_bytes(4, "big")
            try:
                attacker.send(len(head).to_bytes(3, "big") + b"\x01\x05" + stream + head + frames(stream))
            except OSError:
                break
        code = -1
        try:  # the library would stumble over answers to what it has not asked
            said = b""
            while piece := attacker.socket.recv(65536):
                said += piece
            code = said[-1]
        except OSError:
            pass  # reset: it had sent more than was read
        assert code in (CALM, -1)
        assert normal.ask("/hello").status == 200
    site.wait_line("closed an HTTP/2 connection of 127.0.0.1: ENHANCE_YOUR_CALM")


TOLD = """
[app.plain]
entry = "told_asgi:application"
type = "asgi"
root = "APPS"
workers = 1

[site.a]
hosts = ["a"]
app = "plain"
"""


def test_hints_come_before_an_answer_and_trailers_behind_it(start_site: StartSite) -> None:
    site = start_site(TOLD, server=CLEAR)
    hint = 'await send({"type": "http.response.early_hint", "links": [b"</app.css>; rel=preload"]})\n'
    start = 'await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": []})\n'
    sum_ = 'await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})'
    with H2Client(site.address) as client:
        for size in (5, 3_000_000):
            source = f"{hint}{start}await body(b'x' * {size})\n{sum_}"
            answer = client.ask(f"/?{quote(source)}", fields=[("te", "trailers")])
            assert (len(answer.body), answer.interim, answer.trailers) == (size, [103], [("x-sum", "7")])
            assert client.ask(f"/?{quote(source)}").trailers == []
