"""The process that gets certificates, as the master sees it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyserve.config.model import Acme, Config, Server, Site, Tls
from pyserve.master.acme import AcmeProcess
from pyserve.master.loop import Loop
from pyserve.master.resources import _public
from pyserve.wire import messages
from pyserve.wire.frames import WireError


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, level: str) -> Any:
        return self.lines.append


def process(config: Config, told: list[str] | None = None) -> AcmeProcess:
    resources: Any = SimpleNamespace(config=config, log=Log(), error_fd=2)
    return AcmeProcess(Loop(), resources, (told if told is not None else []).append)


def config(storage: str = "/st", user: str = "") -> Config:
    acme = Acme(storage=storage, external_id="me", external_key="secret")
    sites = (Site("plain", ("b.test",)), Site("a", ("a.test",), tls=Tls(is_awaited=True), acme=acme))
    return Config(Server((), "", user=user, acme=acme), sites=sites)


def test_without_a_site_that_wants_it_there_is_none() -> None:
    it = process(Config(Server((), "")))
    it.start()
    assert it.is_gone
    assert it.facts() == {}


def test_what_it_says_is_known_by_site_and_a_new_certificate_is_told_once() -> None:
    told: list[str] = []
    it = process(config(), told)

    def say(*state: Any) -> None:
        message = messages.pack_acme_state(0, *state)
        it._heard(messages.ACME_STATE, message[6:])

    say("waiting", 0.0, 0.0, "")
    say("ordering", 0.0, 0.0, "")
    assert told == []
    say("valid", 2e9, 1.9e9, "")
    say("valid", 2e9, 1.8e9, "")
    assert told == ["a"]
    say("valid", 2.1e9, 1.9e9, "ä")
    assert told == ["a", "a"]
    assert it.facts() == {"a": ("valid", 2.1e9, 1.9e9, "ä")}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (messages.ACME_STATE, b""),
        (messages.ACME_STATE, messages.pack_acme_state(0, "valid", 0.0, 0.0, "")[6:-1]),
        (messages.ACME_STATE, messages.pack_acme_state(1, "valid", 0.0, 0.0, "")[6:]),
        (messages.ACME_STATE, b"\0\0\0\0\x09" + bytes(16)),
        (messages.ACME_STATE, messages.pack_acme_state(0, "valid", float("nan"), 0.0, "")[6:]),
        (messages.ACME_STATE, messages.pack_acme_state(0, "valid", 0.0, -1.0, "")[6:]),
        (messages.ACME_STATE, messages.pack_acme_state(0, "valid", 0.0, float("inf"), "")[6:]),
        (messages.ACME_STATE, messages.pack_acme_state(0, "valid", 0.0, 0.0, "")[6:] + bytes(100_000)),
        (messages.FRONT_READY, b""),
    ],
)
def test_whatever_breaks_the_rules_of_its_channel_is_refused(kind: int, payload: bytes) -> None:
    it = process(config())
    with pytest.raises(WireError):
        it._heard(kind, payload)
    assert it.facts() == {}


def test_fronts_do_not_learn_the_key_of_the_external_account() -> None:
    assert b"secret" in process(config())._tasks()
    shown = _public(config())
    assert shown.server.acme.external_key == ""
    assert [site.acme.external_key for site in shown.sites if site.acme is not None] == [""]


@pytest.mark.needs("root")
def test_the_storage_is_made_for_the_user_that_it_runs_as(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "deep" / "st"
    it = process(config(str(folder), "nobody"))
    it._prepare(str(folder))
    info = folder.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (nobody.pw_uid, nobody.pw_gid, 0o700)
    assert (tmp_path / "deep").stat().st_uid == 0
    # One that is there is left as the operator made it.
    other = tmp_path / "other"
    other.mkdir()
    it._prepare(str(other))
    assert other.stat().st_uid == os.geteuid()
