"""An HTTP/2 client on the library ``h2``: another reading of the RFC than ours, so what we send wrong fails the test.

One blocking socket, in clear text with prior knowledge or over TLS. Many requests may be under way at once.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.support.client import Closed


@dataclass
class Answer:
    stream: int
    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    reset: int | None = None
    """The code of the RST_STREAM that ended it."""
    is_whole: bool = False

    def field(self, name: str) -> str | None:
        """Return the only value of a field, or None; two values fail the test."""
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def is_over(self) -> bool:
        return self.is_whole or self.reset is not None


class H2Client:
    """``takes``: whether what comes is acknowledged to the server at once, so that its windows stay open."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext | None = None,
        name: str = "a",
        *,
        timeout_s: float = 20.0,
        takes: bool = True,
        window: int = 65_535,
    ) -> None:
        self.socket: socket.socket = socket.create_connection(address, timeout_s)
        self.scheme = "http"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
            self.scheme = "https"
        self.takes = takes
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        self._rest = b""  # of a frame that has not come whole
        """Last stream and code of each that came."""
        self.is_closed = False
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # The library takes a GOAWAY for the end, but what is under way goes on, may be in the same read.
        machine = self.h2.state_machine
        is_open = h2.connection.ConnectionState.CLIENT_OPEN
        goes_on = {(is_open, h2.connection.ConnectionInputs.RECV_GOAWAY): (None, is_open)}
        machine._transitions = {**machine._transitions, **goes_on}
        values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.send(self.h2.data_to_send())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def start(
        self,
        path: str,
        host: str = "a",
        method: str = "GET",
        fields: list[tuple[str, str]] | None = None,
        *,
        is_end: bool = True,
        protocol: str = "",
    ) -> int:
        """Begin a request; return its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.scheme), (":authority", host), (":path", path)]
        if protocol:
            head.insert(1, (":protocol", protocol))
        self.h2.send_headers(stream, [*head, *(fields or [])], end_stream=is_end)
        self.answers[stream] = Answer(stream)
        self.flush()
        return stream

    def send_body(self, stream: int, data: bytes, *, is_end: bool = True) -> None:
        """Send as windows allow, waiting for room."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if not room:
                self.receive()
                if self.answers[stream].is_over:
                    return
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
        if is_end:
            self.h2.end_stream(stream)
            self.flush()

    def wait(self, *streams: int) -> list[Answer]:
        """Return the answers of streams when they are over."""
        while not all(self.answers[stream].is_over for stream in streams):
            self.receive()
        return [self.answers[stream] for stream in streams]

    def ask(
        self,
        path: str,
        host: str = "a",
        method: str = "GET",
        body: bytes | None = None,
        fields: list[tuple[str, str]] | None = None,
    ) -> Answer:
        stream = self.start(path, host, method, fields, is_end=body is None)
        if body is not None:
            self.send_body(stream, body)
        return self.wait(stream)[0]

    def wait_closed(self) -> None:
        """Read until the server has closed the connection."""
        while not self.is_closed:
            try:
                self.receive()
            except Closed:
                pass

    def receive(self) -> None:
        """Take what the server sends next; raise ``Closed`` at its end."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        if not data:
            self.is_closed = True
            raise Closed
        data = self._rest + data
        # One by one: the library takes nothing behind a GOAWAY, which may come together with what is under way.
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            for event in self.h2.receive_data(data[:end]):
                self._take(event)
            data = data[end:]
        self._rest = data
        self.flush_quietly()

    def flush_quietly(self) -> None:
        try:
            self.flush()
        except OSError:
            pass  # it has closed already; what it said is still read

    def acknowledge(self, stream: int, count: int) -> None:
        """Open the windows by so many bytes."""
        self.h2.increment_flow_control_window(count)
        if not self.answers[stream].is_over:
            self.h2.increment_flow_control_window(count, stream)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=fields):
                self.answers[stream].fields = [pair for pair in fields if pair[0][0] != ":"]
                self.answers[stream].status = int(dict(fields)[":status"])
            case h2.events.InformationalResponseReceived(stream_id=stream, headers=fields):
                self.answers[stream].interim.append(int(dict(fields)[":status"]))
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self.answers[stream].body += data
                if self.takes and length:
                    self.h2.acknowledge_received_data(length, stream)
            case h2.events.TrailersReceived(stream_id=stream, headers=fields):
                self.answers[stream].trailers = list(fields)
            case h2.events.StreamEnded(stream_id=stream):
                self.answers[stream].is_whole = True
            case h2.events.StreamReset(stream_id=stream, error_code=code):
                if stream in self.answers:
                    self.answers[stream].reset = int(code)
            case h2.events.ConnectionTerminated(last_stream_id=last, error_code=code):
                self.goaways.append((last, int(code)))


class Tunnel:
    """A stream of an extended CONNECT, read and written as ``Client`` is."""

    def __init__(
        self, client: H2Client, path: str, host: str = "a", fields: list[tuple[str, str]] | None = None
    ) -> None:
        fields = [("sec-websocket-version", "13"), *(fields or [])]
        self._client = client
        self.stream = client.start(path, host, "CONNECT", fields, is_end=False, protocol="websocket")
        self.answer = client.answers[self.stream]
        while not self.answer.status and not self.answer.is_over:
            client.receive()

    def send(self, data: bytes) -> None:
        self._client.send_body(self.stream, data, is_end=False)

    def read_exactly(self, count: int) -> bytes:
        answer = self.answer
        while len(answer.body) < count:
            if answer.is_over:
                raise Closed
            self._client.receive()
        data, answer.body = answer.body[:count], answer.body[count:]
        return data

    def is_closed(self) -> bool:
        while not self.answer.is_over:
            self._client.receive()
        return not self.answer.body
