"""``pyserve check``: everything that ``run`` does, short of binding.

I/O: reads files, looks at folders, and imports each application in a process of its own interpreter. Starts no server,
leaves nothing behind.
"""

from __future__ import annotations

import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from pyserve.cli import exit_codes
from pyserve.cli.arguments import DEFAULT_FILE, UsageError
from pyserve.cli.problems import print_problems
from pyserve.config.accounts import become
from pyserve.config.load import Loaded, read
from pyserve.config.model import App, Config, RunApp
from pyserve.config.problems import Place, show_key
from pyserve.errors import CannotStart
from pyserve.master.child import out_of_reach
from pyserve.master.isolation import Refused, code_descriptor, how_to_start, set_limits
from pyserve.master.kernel import identity_of
from pyserve.observe.error_log import printable
from pyserve.worker.boot import check_command

_MAX_OUTPUT_BYTES = 64 * 1024


class Trial(NamedTuple):
    """How an import went: ``interface`` and ``version`` of the interpreter, or a ``fault`` with its ``traceback``."""

    interface: str = ""
    version: str = ""
    fault: str = ""
    traceback: str = ""


def check(files: Sequence[str]) -> int:
    """Print every problem and return 78, or a summary and return 0. Raises ``UsageError``, ``ConfigError``."""
    if not files and not os.path.exists(DEFAULT_FILE):
        raise UsageError(f"there is no ./{DEFAULT_FILE}; name the file: pyserve check -c FILE")
    loaded = read(files or [DEFAULT_FILE])
    # An app that has a problem already can't be tried: what it needs for an import is what is wrong.
    apps = [app for app in loaded.config.apps if not _has_problem(loaded, app)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        trials = dict(zip(apps, pool.map(lambda app: try_import(app, loaded.config), apps), strict=True))
    if reason := _fronts_fault(loaded.config):
        place = loaded.places["server",]
        loaded.collected.add(Place(place.document, (*place.path, "user")), reason, surroundings=True)
    tracebacks = {}
    for app, trial in trials.items():
        if trial.fault:
            place = loaded.places["app", app.name]
            path = (*place.path, "entry")
            loaded.collected.add(Place(place.document, path), trial.fault, surroundings=True)
            tracebacks[show_key(path)] = trial.traceback
    notes = _prove_certificates(loaded)
    problems = loaded.collected.rendered()
    if not problems:  # what a file with problems seems to leave unused may be named where the problem is
        notes = [*_notes(loaded.config), *notes]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if problems:
        print_problems(problems, tracebacks)
        return exit_codes.CONFIG
    print(_summary(files or [DEFAULT_FILE], loaded.config, trials))
    sys.stdout.flush()
    return exit_codes.STOPPED


def _prove_certificates(loaded: Loaded) -> list[str]:
    """Add what is wrong with the sites' certificates to the problems; return what is worth a note."""
    sites = [site for site in loaded.config.sites if site.tls is not None]
    if not sites:
        return []
    # The library for certificates takes 30 ms.
    from pyserve.master.expiry import DUE_DAYS, words_before, words_left
    from pyserve.net.certificate import Unfit, not_for, prove, why_not_local

    notes = []
    for site in sites:
        assert site.tls is not None
        place = loaded.places["site", site.name]

        def add(message: str, key: str = "cert", place: Place = place) -> None:
            loaded.collected.add(Place(place.document, (*place.path, "tls", key)), message, surroundings=True)

        if site.tls.is_awaited and not os.path.exists(site.tls.cert):
            continue  # its first certificate is asked for at the start
        if site.tls.local_ca and (reason := why_not_local(site.tls, site.hosts)):
            add(reason, "local_ca")
        if not site.tls.cert:
            continue  # made at the start, or it has been said that it is missing
        try:
            proved = prove(site.tls, site.hosts)
        except Unfit as error:
            add(str(error), "client_ca" if site.tls.client_ca and site.tls.client_ca in str(error) else "cert")
            continue
        left_s = proved.not_after_s - time.time()
        if left_s < 0 or proved.not_before_s > time.time():
            add(f"{site.tls.cert} {words_left(left_s) if left_s < 0 else words_before(proved.not_before_s)}")
        elif left_s < DUE_DAYS[0] * 86400 and not site.tls.is_awaited:
            notes.append(f"site {site.name}: its certificate {words_left(left_s)}")
        if words := not_for(proved.names, site.hosts):
            notes.append(f"site {site.name}: its certificate {words}")
    return [printable(note) for note in notes]


def _fronts_fault(config: Config) -> str:
    """What keeps the fronts from being started as the user that they are to drop to."""
    user = config.server.user
    if not user or os.geteuid() != 0:
        return ""
    try:
        return out_of_reach(identity_of(user))
    except CannotStart:
        return ""  # there is no such user, which has been said


def _has_problem(loaded: Loaded, app: App) -> bool:
    key = show_key(("app", app.name))
    return any(problem.key == key or problem.key.startswith(f"{key}.") for problem in loaded.problems)


def try_import(app: App, config: Config) -> Trial:
    """Import one application as its workers would: same interpreter, user, folder, environment, limits of a process,
    and time at most.
    """
    spec = app.spec(config.server)
    try:
        how = how_to_start(app)
    except Refused as refusal:
        return Trial(fault=str(refusal))
    identity = how.identity
    code_fd = -1 if identity is None else code_descriptor()
    # Files, not pipes: something that the import left running would keep a pipe open.
    with TemporaryFile() as out, TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                check_command(app.python, code_fd),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=app.root,
                env=how.env,
                start_new_session=True,  # to end what the import may have started, too
                pass_fds=() if code_fd < 0 else (code_fd,),
                user=None if identity is None else identity.uid,
                group=None if identity is None else identity.gid,
                extra_groups=None if identity is None else identity.groups,
                umask=-1 if how.umask is None else how.umask,
            )
        except OSError as error:
            return Trial(fault=f"{app.python} can't be started: {error.strerror}")
        finally:
            if code_fd >= 0:
                os.close(code_fd)
        spec["limits"] = set_limits(child.pid, app.isolation.limits).by_itself
        try:
            # Version 2 of marshal: the interpreter may be older than ours.
            child.communicate(marshal.dumps((spec,), 2), timeout=app.startup_timeout_s)
        except subprocess.TimeoutExpired:
            fault = f"its import took longer than {app.startup_timeout_s:g} s (startup_timeout)"
            return Trial(fault=fault, traceback=_text(err))
        finally:
            _kill_session(child)
            child.wait()
        return _judge(app, child.returncode, _text(out), _text(err))


def _judge(app: App, code: int, out: str, err: str) -> Trial:
    words = out.rstrip().rpartition("\n")[2].split()
    if code == 0 and len(words) >= 2 and words[0] == "ok":
        return Trial(interface=words[1].upper(), version=words[2] if len(words) > 2 else "")
    lines = err.rstrip().splitlines()
    last = lines[-1].strip() if lines else ""
    if code == 3:
        return Trial(fault=f"can't be imported: {last}", traceback=err if len(lines) > 1 else "")
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"died ({code})"
    else:
        how = f"ended with {code}"
    return Trial(fault=f"{app.python} {how} while it imported the app{': ' + last if last else ''}", traceback=err)


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _text(file: IO[bytes]) -> str:
    """What the child wrote; of very much, the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MAX_OUTPUT_BYTES))
    return file.read().decode("utf-8", "replace")


def _notes(config: Config) -> list[str]:
    """What is no problem, but hardly what anybody wants."""
    notes = []
    used = set()
    for site in config.sites:
        for handler in (site.handler, *(route.handler for route in site.routes)):
            if isinstance(handler, RunApp):
                used.add(handler.app)
    notes += [
        f"no site uses the app {app.name}; its workers would run for nothing"
        for app in config.apps
        if app.name not in used
    ]
    return [printable(note) for note in [*notes, *_not_asked_here(config), *_not_isolated(config)]]


def _not_asked_here(config: Config) -> list[str]:
    """Sites whose challenges an authority looks for on ports that nobody listens on."""
    places = {
        "http-01": (80, any(listener.port == 80 for listener in config.server.http)),
        "tls-alpn-01": (443, any(listener.port == 443 for listener in config.server.https)),
    }
    notes = []
    for site in config.sites:
        if site.acme is not None and not any(places[kind][1] for kind in site.acme.challenges):
            ports = " or ".join(f"{places[kind][0]} ({kind})" for kind in site.acme.challenges)
            notes.append(
                f"site {site.name}: for its certificate the authority asks on port {ports}: forward it to here"
            )
    return notes


def _not_isolated(config: Config) -> list[str]:
    """Applications that run as the server itself does: a matter for who has users at all, and for root."""
    if not any(app.isolation.user for app in config.apps):
        if os.geteuid() == 0 and config.apps:
            return ["you are root: applications started by root run as root, and are not isolated from the server"]
        return []
    servers = {os.geteuid(): "the master"}
    if os.geteuid() == 0 and config.server.user:
        servers[identity_of(config.server.user).uid] = "the fronts"
    notes = []
    for app in config.apps:
        identity = become(app.isolation)
        who = servers.get(os.geteuid() if identity is None else identity.uid)
        if who is not None:
            notes.append(f"the app {app.name} runs as the same user as {who} and is not isolated from the server")
    return notes


def _summary(files: Sequence[str], config: Config, trials: dict[App, Trial]) -> str:
    sites = "1 site" if len(config.sites) == 1 else f"{len(config.sites)} sites"
    apps = ", ".join(f"{app.name} ({trial.interface}, Python {trial.version})" for app, trial in trials.items())
    count = "1 app" if len(trials) == 1 else f"{len(trials)} apps"
    return printable(f"{' '.join(files)}: ok: {sites}; {f'{count}: {apps}' if trials else 'no apps'}")
