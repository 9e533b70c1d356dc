"""The master's side of certificates: whatever becomes of who proves them, sites keep what they have or are refused."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pyserve.config.model import Config, Server, Site, Tls
from pyserve.master import certificates as module
from pyserve.master import child
from pyserve.master.certificates import Certificates
from pyserve.master.loop import Loop
from pyserve.wire import messages
from tests.support.certificates import Authority

CA = Authority()


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, level: str) -> Callable[[str], None]:
        return lambda text: self.lines.append(f"{level} {text}")


class Resources:
    def __init__(self, *tls: Tls) -> None:
        sites = tuple(Site(f"s{number}", (f"s{number}.test",), tls=one) for number, one in enumerate(tls))
        self.config = Config(Server((), ""), sites=sites)
        self.log = Log()
        self.error_fd = 2


class Fronts:
    """What fronts were told, with the contents of what they were given."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Any, bytes]] = []

    def tell_all(self, kind: int, values: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
        data = b"".join(os.pread(fd, 1 << 20, 0) for fd in descriptors)
        self.told.append((kind, values, data))

    def tell(self, number: int, message: bytes, descriptors: Sequence[int] = ()) -> bool:
        self.tell_all(message[4], messages.values(message[6:]), descriptors)
        return True


class Stage:
    def __init__(self, *tls: Tls) -> None:
        self.loop, self.resources, self.fronts = Loop(), Resources(*tls), Fronts()
        self.certificates = Certificates(self.loop, self.resources, self.fronts, lambda: None)  # type: ignore[arg-type]

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop as the master does, children and all."""
        for _ in range(2000):
            if condition():
                return
            self.loop.after(0.01, lambda: None)
            self.loop.turn()
            self.reap()
        raise AssertionError(f"not within 20 s: {self.resources.log.lines}")

    def reap(self) -> None:
        pid = self.certificates._pid
        if pid:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                assert self.certificates.reaped(ended, status)

    def close(self) -> None:
        self.certificates.stop()
        self.run_until(lambda: self.certificates.are_gone)
        self.certificates.close()
        self.loop.close()


def pair(folder: Path, name: str) -> Tls:
    CA.write(folder, name, f"{name}.test")
    return Tls(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))


def test_fronts_get_what_was_proved_and_late_ones_the_same(tmp_path: Path) -> None:
    stage = Stage(pair(tmp_path, "a"), Tls(str(tmp_path / "missing.pem"), ""), pair(tmp_path, "b"))
    assert not stage.certificates.are_settled
    stage.certificates.start()
    stage.run_until(lambda: stage.certificates.are_settled)
    missing, given = sorted(stage.fronts.told, key=lambda told: -told[0])
    assert missing[:2] == (
        messages.CERTIFICATE_MISSING,
        (1, f"no such file: {tmp_path}/missing.pem (certificate)", False),
    )
    assert given[0] == messages.CERTIFICATES
    for number, offset, chain, key, client_ca in given[1][0]:
        name = "ab"[number // 2]
        assert given[2][offset : offset + chain] == (tmp_path / f"{name}.pem").read_bytes()
        assert given[2][offset + chain : offset + chain + key] == (tmp_path / f"{name}.key").read_bytes()
        assert client_ca == 0
    stage.fronts.told.clear()
    stage.certificates.introduce_all(1)
    assert sorted(stage.fronts.told, key=lambda told: -told[0]) == [missing, given]
    assert [fact["fault"] == "" for fact in stage.certificates.facts()] == [True, False, True]
    stage.close()


class Clock:
    """What the module takes for ``time``."""

    def __init__(self) -> None:
        self.days = 0

    def time(self) -> float:
        return time.time() + self.days * 86400


def replace(tls: Tls, cert: bytes, key: bytes) -> None:
    Path(tls.cert).write_bytes(cert)
    Path(tls.key).write_bytes(key)


def serials(stage: Stage) -> list[int]:
    """Of what fronts were given, in order."""
    return [
        x509.load_pem_x509_certificate(data).serial_number
        for kind, _, data in stage.fronts.told
        if kind == messages.CERTIFICATES
    ]


def test_one_that_is_not_valid_yet_is_said_once_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    tls = Tls(str(tmp_path / "a.pem"), str(tmp_path / "a.key"))
    replace(tls, *CA.issue("s0.test", starts=10))
    stage = Stage(tls)
    stage.certificates.start()
    stage.run_until(lambda: stage.certificates.are_settled and stage.certificates.are_gone)
    looks: list[None] = []
    monkeypatch.setattr(module, "_signature", lambda tls, real=module._signature: (looks.append(None), real(tls))[1])
    stage.run_until(lambda: len(looks) > 3)
    (line,) = stage.resources.log.lines
    assert re.fullmatch(rf"warning site s0: its certificate {tls.cert} is not valid before 20\S+Z", line)
    assert len(serials(stage)) == 1
    stage.close()


def test_one_that_is_not_valid_yet_takes_the_place_of_one_that_is_when_its_time_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    tls = Tls(str(tmp_path / "a.pem"), str(tmp_path / "a.key"))
    replace(tls, *CA.issue("s0.test", days=40))
    stage = Stage(tls)
    stage.certificates.start()
    stage.run_until(lambda: stage.certificates.are_settled and stage.certificates.are_gone)
    replace(tls, *CA.issue("s0.test", starts=10))
    stage.run_until(lambda: bool(stage.certificates.facts()[0]["fault"]) and stage.certificates.are_gone)
    assert "new certificate not taken, the old one stays" in stage.resources.log.lines[-1]
    assert "is not valid before 20" in stage.resources.log.lines[-1]
    assert len(serials(stage)) == 1
    clock.days = 11
    stage.run_until(lambda: len(serials(stage)) == 2)
    assert stage.certificates.facts()[0]["fault"] == ""
    assert stage.resources.log.lines[-1] == f"info site s0: new certificate {tls.cert}"
    stage.close()


def test_one_that_is_not_for_its_hosts_is_said_at_the_start_and_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    tls = pair(tmp_path, "a")
    stage = Stage(tls)
    stage.certificates.start()
    stage.run_until(lambda: stage.certificates.are_settled and stage.certificates.are_gone)
    words = "is for a.test, not for s0.test"
    assert stage.resources.log.lines == [f"warning site s0: its certificate {tls.cert} {words}"]
    assert stage.certificates.facts()[0]["not_for"] == words
    replace(tls, *CA.issue("b.test"))
    stage.run_until(lambda: len(serials(stage)) == 2 and stage.certificates.are_gone)
    assert stage.resources.log.lines[-1].endswith("is for b.test, not for s0.test")
    replace(tls, *CA.issue("s0.test"))
    stage.run_until(lambda: len(serials(stage)) == 3)
    assert stage.resources.log.lines[-1].startswith("info site s0: new certificate")
    assert stage.certificates.facts()[0]["not_for"] == ""
    stage.close()


FAULTS = {
    "it dies at once": "import sys; sys.exit(1)",
    "it closes its channel": "import os, time; os.close(int(sys.argv[1])); time.sleep(60)",
    "it says what nobody understands": "import os, time; os.write(int(sys.argv[1]), bytes(100)); time.sleep(60)",
    "it hangs": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("code", FAULTS.values(), ids=FAULTS)
def test_a_prover_that_fails_costs_only_what_it_was_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(
        child, "module_command", lambda module, fd: ([sys.executable, "-c", f"import sys; {code}", str(fd)], None)
    )
    monkeypatch.setattr(module, "PROOF_S", 0.3)
    monkeypatch.setattr(module, "CLOSED_BUT_ALIVE_S", 0.1)
    stage = Stage(pair(tmp_path, "a"))
    stage.certificates.start()
    stage.run_until(lambda: stage.certificates.are_settled)
    assert stage.fronts.told[0][0] == messages.CERTIFICATE_MISSING
    assert any("could not be proved" in line for line in stage.resources.log.lines)
    stage.run_until(lambda: stage.certificates.are_gone)
    stage.close()
