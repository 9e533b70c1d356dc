"""The sites' certificates: proved by a child, given to the fronts, looked at again every few seconds.

I/O: ``stat`` of the files; the child ``prover`` reads them. Invariant: fronts get only what was proved, and keep what
they have while what came after it is bad. The master forwards secrets as descriptors and never reads them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pyserve.config.model import Site, Tls
from pyserve.master import child
from pyserve.master.expiry import is_due, words_before, words_left
from pyserve.master.fronts import Fronts
from pyserve.master.loop import Line, Loop, Timer
from pyserve.master.resources import Resources
from pyserve.net.channels import MessageChannel
from pyserve.wire import messages
from pyserve.wire.frames import WireError

LOOK_S = 1.0
RENEW_S = 31 * 86400.0
AT_ONCE = 256
"""Sites in one list, and one file: a message has a limit, and so has the number of descriptors."""
CLOSED_BUT_ALIVE_S = 2.0
PROOF_S = 60.0
"""A list that takes longer is given up: the files may lie on a disk that hangs."""

Signature = tuple[tuple[int, int, int], ...]
_NOTHING_THERE: Signature = ((0, 0, 0), (0, 0, 0))
"""Neither certificate nor key."""


class _File:
    """What a list of sites was proved to have, in sealed memory; closed when none of it is in use."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0


class _Held(NamedTuple):
    """What a site has: where it lies, and what is to be told of it."""

    file: _File
    numbers: tuple[int, ...]
    """As in PROVED."""
    facts: bytes
    not_for: str
    """Which of the site's hosts it is not for, in words; "" = it is for all."""

    @property
    def not_before_s(self) -> int:
        return self.numbers[5]

    @property
    def not_after_s(self) -> int:
        return self.numbers[6]


class _Site:
    def __init__(self, number: int, site: Site, tls: Tls) -> None:
        self.number = number
        self.name = site.name
        self.hosts = site.hosts
        self.tls = tls
        self.seen: Signature | None = None
        """Of the files at the last look."""
        self.proved: Signature | None = None
        """Of those that were proved last, with whatever outcome."""
        self.held: _Held | None = None
        self.fault = ""
        """Why the newest files are of no use."""
        self.is_waiting = False
        """It has no certificate yet, and until it comes it is served in clear text."""
        self.warned_days = 1 << 30
        self.is_early_said = False
        self.valid_at_s = 0.0
        """When the newest files, which are not valid yet, are to be proved again; 0 = there are none."""

    def is_renewed_in_time(self, now: float) -> bool:
        """Is its end no news yet, because we get the next one ourselves, and have had little time to?"""
        if self.held is None or not self.tls.is_awaited:
            return False
        not_before_s, not_after_s = self.held.not_before_s, self.held.not_after_s
        return not_after_s - now > (not_after_s - not_before_s) / 4

    @property
    def words(self) -> str:
        return self.tls.cert or "of the local authority"


class Certificates:
    """``on_settled`` is called whenever the answer to ``are_settled`` may have changed."""

    def __init__(self, loop: Loop, resources: Resources, fronts: Fronts, on_settled: Callable[[], None]) -> None:
        self._loop = loop
        self._log = resources.log
        self._error_fd = resources.error_fd
        self._fronts = fronts
        self._on_settled = on_settled
        self._sites = [
            _Site(number, site, site.tls) for number, site in enumerate(resources.config.sites) if site.tls is not None
        ]
        self._by_number = {site.number: site for site in self._sites}
        self._line: Line | None = None
        self._pid = 0
        self._asked: list[_Site] = []
        """What the prover was given and has not told of yet."""
        self._answers: list[tuple[tuple[int, ...], bytes]] = []
        self._not_for: dict[int, str] = {}
        self._timer: Timer | None = None
        self._patience: Timer | None = None
        self._is_stopping = False
        self._file: _File | None = None

    def start(self) -> None:
        """Have everything proved; nothing where no site has a certificate."""
        if not self._sites:
            return
        for site in self._sites:
            site.seen = _signature(site.tls)
        self._prove(self._sites)
        self._look_later()

    @property
    def are_settled(self) -> bool:
        """Has every site a certificate, or is it known why not?"""
        return all(site.held is not None or site.fault for site in self._sites)

    @property
    def are_gone(self) -> bool:
        return self._pid == 0

    def introduce_all(self, front: int) -> None:
        """Give a front that was just started all there is."""
        files: dict[int, list[_Held]] = {}
        for site in self._sites:
            if site.held is not None:
                files.setdefault(id(site.held.file), []).append(site.held)
            elif site.fault:
                message = messages.pack_values(messages.CERTIFICATE_MISSING, (site.number, site.fault, site.is_waiting))
                self._fronts.tell(front, message)
        for held in files.values():
            message = messages.pack_values(messages.CERTIFICATES, ([one.numbers[:5] for one in held],), 1)
            self._fronts.tell(front, message, [held[0].file.fd])

    def facts(self) -> list[dict[str, Any]]:
        return [
            {
                "site": site.name,
                "facts": "" if site.held is None else site.held.facts.decode("utf-8", "replace"),
                "not_before_s": 0 if site.held is None else site.held.not_before_s,
                "not_after_s": 0 if site.held is None else site.held.not_after_s,
                "not_for": "" if site.held is None else site.held.not_for,
                "fault": site.fault,
            }
            for site in self._sites
        ]

    # Looking

    def _look_later(self) -> None:
        if not self._is_stopping:
            self._timer = self._loop.after(LOOK_S, self._look)

    def _look(self) -> None:
        """Have proved what has changed and has been the same for two looks: files are rarely written in one step."""
        changed = []
        for site in self._sites:
            before, site.seen = site.seen, _signature(site.tls)
            if site.seen == before and (site.seen != site.proved or self._is_due_again(site)):
                changed.append(site)
        if changed and not self._pid:
            self._prove(changed)
        self._warn()
        self._look_later()

    @staticmethod
    def _is_due_again(site: _Site) -> bool:
        """Only what a local authority makes ends without anybody else seeing to it; and what was too early may be
        valid now."""
        held = site.held
        if 0 < site.valid_at_s <= time.time():
            return True
        return bool(site.tls.local_ca) and held is not None and held.not_after_s - time.time() < RENEW_S

    def look_now(self, name: str) -> None:
        """The certificate of a site has a new file, put there whole: it need not be seen twice."""
        for site in self._sites:
            if site.name == name and not self._pid and not self._is_stopping:
                site.seen = _signature(site.tls)
                if site.seen != site.proved:
                    self._prove([site])

    def _warn(self) -> None:
        now = time.time()
        for site in self._sites:
            if site.held is not None and site.held.not_before_s > now and not site.is_early_said:
                site.is_early_said = True
                self._log.warning(
                    f"site {site.name}: its certificate {site.words} {words_before(site.held.not_before_s)}"
                )
            if site.held is not None and site.is_renewed_in_time(now):
                continue
            if site.held is not None and (days := is_due(site.held.not_after_s - now, site.warned_days)) is not None:
                site.warned_days = days
                say = self._log.error if days < 0 else self._log.warning
                say(f"site {site.name}: its certificate {site.words} {words_left(site.held.not_after_s - now)}")

    # Proving

    def _prove(self, sites: Sequence[_Site]) -> None:
        channel, theirs = MessageChannel.pair()
        with theirs:
            command, cwd = child.module_command("pyserve.master.prover", theirs.fileno())
            try:
                self._pid = child.start(command, theirs.fileno(), self._error_fd, cwd=cwd)
            except OSError as error:
                channel.close()
                self._fail(sites, f"can't be looked at: {error.strerror}")
                return
        self._asked = list(sites)
        self._line = Line(self._loop, channel, self._heard, self._ended, self._take_descriptors)
        for at in range(0, len(sites), AT_ONCE):
            wanted = []
            for site in sites[at : at + AT_ONCE]:
                site.proved = site.seen
                site.valid_at_s = 0.0
                wanted.append((site.number, tuple(site.tls), site.hosts))
            self._line.send(messages.pack_values(messages.PROVE, (wanted,)))
        self._patience = self._loop.after(PROOF_S, self._out_of_patience)

    def _take_descriptors(self, kind: int, descriptors: list[int]) -> None:
        keep = descriptors[:1] if kind == messages.PROVED_FILE and self._file is None else []
        for fd in descriptors[len(keep) :]:
            os.close(fd)
        if keep:
            self._file = _File(keep[0])

    def _heard(self, kind: int, payload: bytes) -> None:
        if kind == messages.PROVED:
            self._answers.append(messages.proved(payload))
        elif kind == messages.NOT_FOR:
            site, text = self._asked_for(payload)
            self._not_for[site.number] = text
        elif kind == messages.UNPROVED:
            site, text = self._asked_for(payload)
            self._asked.remove(site)
            self._refuse(site, text)
        elif kind == messages.PROVED_FILE and self._file is not None:
            file, self._file = self._file, None
            self._take(file)
        else:
            raise WireError(f"message {kind}")
        if not self._asked:
            self._finish()

    def _asked_for(self, payload: bytes) -> tuple[_Site, str]:
        number, text = messages.number_text(payload)
        site = self._by_number.get(number)
        if site is None or site not in self._asked:
            raise WireError(f"nobody asked for site {number}")
        return site, text.decode("utf-8", "replace")

    def _take(self, file: _File) -> None:
        answers, self._answers = self._answers, []
        size = os.fstat(file.fd).st_size
        entries = []
        for numbers, facts in answers:
            site = self._by_number.get(numbers[0])
            if site is None or site not in self._asked or sum(numbers[1:5]) > size:
                raise WireError(f"nobody asked for site {numbers[0]}, or it lies outside of the file")
            self._asked.remove(site)
            held = _Held(file, numbers, facts, self._not_for.pop(numbers[0], ""))
            if reason := self._why_worse(site, held):
                self._refuse(site, f"{site.words} {reason}")
                continue
            self._replace(site, held)
            entries.append(numbers[:5])
        if entries:
            self._fronts.tell_all(messages.CERTIFICATES, (entries,), [file.fd])
        if not file.users:
            os.close(file.fd)
        self._warn()

    @staticmethod
    def _why_worse(site: _Site, new: _Held) -> str:
        """Return why the site's certificate does not give way to one that is not valid now; "" = it does."""
        now = time.time()
        old = site.held
        if old is None or old.not_after_s < now:
            return ""
        if new.not_after_s < now:
            return words_left(new.not_after_s - now)
        if old.not_before_s <= now < new.not_before_s:
            site.valid_at_s = float(new.not_before_s)
            return words_before(new.not_before_s)
        return ""

    def _replace(self, site: _Site, held: _Held) -> None:
        old = site.held
        if old is not None:
            self._let_go(old)
        site.held = held
        held.file.users += 1
        if old is not None or site.fault:
            self._log.info(f"site {site.name}: new certificate {site.words}")
        if held.not_for:
            self._log.warning(f"site {site.name}: its certificate {site.words} {held.not_for}")
        site.fault = ""
        site.is_waiting = False
        site.is_early_said = False
        site.warned_days = 1 << 30

    @staticmethod
    def _let_go(held: _Held) -> None:
        held.file.users -= 1
        if not held.file.users:
            os.close(held.file.fd)

    def _refuse(self, site: _Site, reason: str) -> None:
        if site.held is not None:
            if reason != site.fault:
                self._log.error(f"site {site.name}: new certificate not taken, the old one stays: {reason}")
            site.fault = reason
            return
        say = self._log.error
        if site.tls.is_awaited and site.seen is not None and site.seen[:2] == _NOTHING_THERE:
            reason = "waiting for its first certificate"
            # Whoever is to be let in only with a certificate is not let in without, in clear text, meanwhile.
            site.is_waiting = site.tls.client_auth == "none"
            say = self._log.info
        if reason != site.fault:
            say(f"site {site.name}: refused on https: {reason}")
        site.fault = reason
        self._fronts.tell_all(messages.CERTIFICATE_MISSING, (site.number, reason, site.is_waiting))

    def _fail(self, sites: Sequence[_Site], reason: str) -> None:
        for site in sites:
            self._refuse(site, f"its certificate {reason}")
        self._on_settled()

    def _finish(self) -> None:
        """Everything was told, or never will be."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._line is not None:
            self._line.close()  # its end is the prover's
            self._line = None
        if pid := self._pid:
            self._loop.after(CLOSED_BUT_ALIVE_S, lambda: self._kill_if_still(pid))
        asked, self._asked = self._asked, []
        self._answers = []
        self._not_for = {}
        if self._file is not None:
            os.close(self._file.fd)
            self._file = None
        if asked and not self._is_stopping:
            self._fail(asked, "could not be proved; the error log may say why")
        self._on_settled()

    def _kill_if_still(self, pid: int) -> None:
        if pid == self._pid:
            child.kill(pid)

    def _ended(self, why: str) -> None:
        if why:
            self._log.error(f"the prover of certificates broke the rules of its channel: {why}")
            child.kill(self._pid)
        self._line = None
        self._finish()

    def _out_of_patience(self) -> None:
        child.kill(self._pid)
        self._finish()

    def reaped(self, pid: int, status: int) -> bool:
        """A child was waited for; return False if it was not the prover."""
        if pid != self._pid or not pid:
            return False
        self._pid = 0
        if self._line is not None:
            self._line.drain()
            self._finish()
        return True

    # Ends

    def stop(self) -> None:
        """Look at nothing any more; who proves just now is ended."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._pid:
            child.kill(self._pid)

    def close(self) -> None:
        for site in self._sites:
            if site.held is not None:
                self._let_go(site.held)
                site.held = None
        if self._line is not None:
            self._line.close()


def _signature(tls: Tls) -> Signature:
    return tuple(_look_at(path) for path in (tls.cert, tls.key, tls.client_ca) if path)


def _look_at(path: str) -> tuple[int, int, int]:
    """LIMIT: a disk that hangs holds up the master here; certificates belong on a local one."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)
