"""A ClientHello is read as the TLS library reads it, however it is cut; what is none gets the right alert."""

from __future__ import annotations

import ssl

import pytest

from pyserve.http.client_hello import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MAX_HELLO_BYTES,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    ClientHello,
    HelloError,
    alert_record,
    read_client_hello,
)


def real_hello(name: str | None = "a.test", protocols: tuple[str, ...] = ()) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def extension(kind: int, data: bytes, length: int | None = None) -> bytes:
    return kind.to_bytes(2, "big") + (len(data) if length is None else length).to_bytes(2, "big") + data


def server_name(name: bytes, kind: int = 0) -> bytes:
    entry = bytes((kind,)) + len(name).to_bytes(2, "big") + name
    return extension(0, len(entry).to_bytes(2, "big") + entry)


def alpn(*protocols: bytes) -> bytes:
    entries = b"".join(bytes((len(protocol),)) + protocol for protocol in protocols)
    return extension(16, len(entries).to_bytes(2, "big") + entries)


def body(*extensions: bytes, has_extensions: bool = True) -> bytes:
    joined = b"".join(extensions)
    tail = len(joined).to_bytes(2, "big") + joined if has_extensions else b""
    return b"\x03\x03" + bytes(32) + b"\x20" + bytes(32) + b"\x00\x02\x13\x01" + b"\x01\x00" + tail


def message(content: bytes, kind: int = 1, length: int | None = None) -> bytes:
    return bytes((kind,)) + (len(content) if length is None else length).to_bytes(3, "big") + content


def records(data: bytes, size: int = 16384) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


GOOD = {
    "a real one": (real_hello("A-Site.test", ("h2", "http/1.1")), ClientHello("a-site.test", (b"h2", b"http/1.1"))),
    "without a name": (real_hello(None), ClientHello("", ())),
    "without extensions": (records(message(body(has_extensions=False))), ClientHello("", ())),
    "a dot at the end": (records(message(body(server_name(b"A.test.")))), ClientHello("a.test", ())),
    "a type of name that nobody knows": (records(message(body(server_name(b"x", 7)))), ClientHello("", ())),
    "the challenge of ACME": (
        records(message(body(server_name(b"a.test"), alpn(b"acme-tls/1")))),
        ClientHello("a.test", (b"acme-tls/1",)),
    ),
    "an extension that nobody knows": (
        records(message(body(extension(0xFE0D, b"\xff" * 200), server_name(b"a.test")))),
        ClientHello("a.test", ()),
    ),
    "in records of 700 bytes": (records(message(body(extension(21, bytes(4000)), server_name(b"a.test"))), 700),) * 1
    + (ClientHello("a.test", ()),),
}


@pytest.mark.parametrize(("data", "wanted"), GOOD.values(), ids=GOOD)
def test_a_hello_says_name_and_protocols(data: bytes, wanted: ClientHello) -> None:
    assert read_client_hello(data) == wanted
    assert read_client_hello(data + b"\x16\x03\x01 and whatever follows") == wanted


@pytest.mark.parametrize("data", [data for data, _ in GOOD.values()], ids=GOOD)
def test_a_hello_that_has_not_come_whole_is_waited_for(data: bytes) -> None:
    assert [read_client_hello(data[:end]) for end in range(len(data))] == [None] * len(data)


BAD = {
    "http": (b"GET / HTTP/1.1\r\n\r\n", 0),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", 0),
    "SSL 2": (b"\x80\x2e\x01\x03\x01", 0),
    "another version of records": (b"\x16\x02\x01\x00\x05", 0),
    "an alert": (b"\x15\x03\x01\x00\x02\x01\x00", 0),
    "a record that is too long": (b"\x16\x03\x01\x40\x01", RECORD_OVERFLOW),
    "an empty record": (b"\x16\x03\x01\x00\x00", UNEXPECTED_MESSAGE),
    "another message": (records(message(b"", kind=2)), UNEXPECTED_MESSAGE),
    "an alert in the middle": (records(message(body())[:20]) + b"\x15\x03\x01\x00\x02\x01\x00", UNEXPECTED_MESSAGE),
    "a message that is too long": (records(message(b"", length=MAX_HELLO_BYTES)), ILLEGAL_PARAMETER),
    "more pieces than any client makes": (records(message(body()), 1), UNEXPECTED_MESSAGE),
    "nothing in it": (records(message(b"")), DECODE_ERROR),
    "cut in the ciphers": (records(message(body()[:70])), DECODE_ERROR),
    "extensions that are shorter than they say": (records(message(body()[:-2] + b"\x00\x09")), DECODE_ERROR),
    "an extension beyond the end": (records(message(body(extension(5, b"", 9)))), DECODE_ERROR),
    "two names": (records(message(body(server_name(b"a"), server_name(b"b")))), ILLEGAL_PARAMETER),
    "no name in the list": (records(message(body(extension(0, b"\0\0")))), DECODE_ERROR),
    "an empty name": (records(message(body(server_name(b"")))), DECODE_ERROR),
    "a name with a NUL": (records(message(body(server_name(b"a.test\0b")))), ILLEGAL_PARAMETER),
    "a name that is not ASCII": (records(message(body(server_name(b"\xe4.test")))), ILLEGAL_PARAMETER),
    "two lists of protocols": (records(message(body(alpn(b"h2"), alpn(b"x")))), ILLEGAL_PARAMETER),
    "an empty protocol": (records(message(body(alpn(b"")))), DECODE_ERROR),
    "a protocol beyond the end": (records(message(body(extension(16, b"\0\3\x09h2")))), DECODE_ERROR),
}


@pytest.mark.parametrize(("data", "alert"), BAD.values(), ids=BAD)
def test_what_is_no_hello_is_refused(data: bytes, alert: int) -> None:
    with pytest.raises(HelloError) as raised:
        read_client_hello(data)
    assert raised.value.alert == alert
    for end in range(len(data)):
        assert alert_or_none(data[:end]) in (None, alert)


def alert_or_none(data: bytes) -> int | None:
    try:
        assert read_client_hello(data) is None
    except HelloError as error:
        return error.alert
    return None


def test_an_alert_is_one_that_the_library_understands() -> None:
    context = ssl.create_default_context()
    incoming = ssl.MemoryBIO()
    client = context.wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(alert_record(112))
    with pytest.raises(ssl.SSLError, match="unrecognized name"):
        client.do_handshake()
