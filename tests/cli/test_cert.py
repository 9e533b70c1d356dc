"""``pyserve cert self-signed``: certificates that clients believe once they believe the local authority."""

from __future__ import annotations

import shlex
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from pyserve.cli.arguments import UsageError, parse
from pyserve.cli.cert import self_signed
from pyserve.errors import CannotStart
from tests.support.certificates import Authority


def test_certificates_are_signed_by_one_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca, out = str(tmp_path / "ca"), str(tmp_path / "out")
    assert self_signed(["a.localhost", "*.a.localhost", "127.0.0.1", "::1"], out, 30, ca) == 0
    assert self_signed(["*.b.localhost"], out, 30, ca) == 0
    printed = capsys.readouterr().out
    assert f"curl --cacert {ca}/ca.pem" in printed
    assert f'tls = {{ cert = "{out}/a.localhost.pem", key = "{out}/a.localhost.key" }}' in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("_.b.localhost.key", "_.b.localhost.pem", "a.localhost.key", "a.localhost.pem")
    ]
    assert (tmp_path / "out/a.localhost.key").stat().st_mode & 0o777 == 0o600

    client = ssl.create_default_context(cafile=f"{ca}/ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{out}/a.localhost.pem", f"{out}/a.localhost.key")
    for name in ("a.localhost", "x.a.localhost", "127.0.0.1", "::1"):
        shake(client.wrap_bio, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client.wrap_bio, server, "b.localhost")
    leaf = x509.load_pem_x509_certificate((tmp_path / "out/a.localhost.pem").read_bytes())
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("kept", ["a.test.pem", "a.test.key", "both", "our certificate and a foreign key"])
def test_only_what_the_local_authority_has_issued_is_replaced(tmp_path: Path, kept: str) -> None:
    out, ca = tmp_path / "out", str(tmp_path / "ca")
    out.mkdir()
    cert, key = Authority().issue("a.test")
    if kept == "our certificate and a foreign key":
        self_signed(["a.test"], str(out), 30, ca)
        (out / "a.test.key").write_bytes(key)
    else:
        pair = {"a.test.pem": cert, "a.test.key": key}
        for name in pair if kept == "both" else [kept]:
            (out / name).write_bytes(pair[name])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(CannotStart, match=r"not replaced: .* authority .*ca\.pem; move them away, .*--out"):
        self_signed(["a.test"], str(out), 30, ca)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_authoritys_folder_may_be_named_from_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert self_signed(["a.test"], "out", 30, "ca") == 0
    assert f"curl --cacert {tmp_path}/ca/ca.pem" in capsys.readouterr().out


def test_a_pair_of_the_local_authority_is_made_anew(tmp_path: Path) -> None:
    assert self_signed(["a.test"], str(tmp_path), 30, str(tmp_path / "ca")) == 0
    first = (tmp_path / "a.test.pem").read_bytes()
    assert self_signed(["a.test"], str(tmp_path), 30, str(tmp_path / "ca")) == 0
    assert (tmp_path / "a.test.pem").read_bytes() != first


def test_what_it_says_can_be_pasted_also_if_there_is_a_blank_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    self_signed(["a.localhost"], str(tmp_path / "out"), 30, str(tmp_path / "my ca"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "my ca" in line]
    assert lines
    for line in lines:
        assert any(word.endswith(f"{tmp_path}/my ca/ca.pem") for word in shlex.split(line)), line


def shake(wrap: object, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [wrap(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]  # type: ignore[operator]
    for side in (*sides, *sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("https://a.localhost", "without scheme and path"),
        ("a.localhost:8443", "without a port"),
        ("a b", "expected a host name or an address"),
        ("*", "expected a host name or an address"),
    ],
)
def test_what_is_no_host_is_said(tmp_path: Path, host: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        self_signed([host], str(tmp_path), 30, str(tmp_path / "ca"))
    assert not list(tmp_path.iterdir())


def test_days_have_a_limit_and_folders_may_be_closed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 to 825"):
        self_signed(["a.test"], str(tmp_path), 10_000, str(tmp_path / "ca"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="file"):
        self_signed(["a.test"], str(tmp_path / "file"), 30, str(tmp_path / "ca"))


def test_the_words_of_the_command() -> None:
    options = parse(["cert", "self-signed", "a.test", "b.test"])
    assert (options.hosts, options.out, options.days, options.ca) == (["a.test", "b.test"], ".", 365, None)
    with pytest.raises(UsageError) as raised:
        parse(["cert", "signed", "a.test"])
    assert str(raised.value).startswith("argument self-signed: invalid choice: 'signed'")
    assert " self-signed HOST [HOST ...]" in str(raised.value)
    with pytest.raises(UsageError, match="HOST"):
        parse(["cert", "self-signed"])
