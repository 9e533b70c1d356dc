"""``h2`` as the server of a session: what it makes of a client's bytes, beside what we make of them."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.support.h2_sessions import MAX_HEAD_BYTES, SETTINGS


class Peer:
    """The same session with ``h2`` as the server; ``fault``: why it ended the connection."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.INITIAL_WINDOW_SIZE: SETTINGS.initial_window,
                codes.MAX_CONCURRENT_STREAMS: SETTINGS.max_concurrent_streams,
                codes.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
                codes.ENABLE_CONNECT_PROTOCOL: 1,
            },
        )
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(SETTINGS.connection_window - 65_535)
        self.heads: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.resets: set[int] = set()
        self.fault = ""
        self.whole: list[int] = []

    def turn(self, data: bytes) -> None:
        if self.fault:
            return
        try:
            for event in self.connection.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError as error:
            self.fault = f"{type(error).__name__}: {error}"
            return
        if self.answers >= 0:
            for stream in self.whole:
                self.connection.send_headers(stream, [(":status", "200")], end_stream=not self.answers)
            self.whole.clear()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            if self.answers != -2:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.whole.append(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.add(event.stream_id)
