"""One application's template: started, retired, replaced when it dies.

I/O: through ``child`` and ``loop``. Invariant: at most one template of an app takes orders; others only still exist
to be waited for, or as long as workers of theirs do. Knows nothing of workers but to pass on what is said of them.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Protocol

from pyserve.config.model import App
from pyserve.config.warmup import warmup_at
from pyserve.master import child
from pyserve.master.child import Template
from pyserve.master.isolation import Refused, how_to_start, make_temporary_folder
from pyserve.master.loop import Line, Loop, Timer
from pyserve.master.policy import Restarts
from pyserve.master.resources import Resources
from pyserve.net.channels import MessageChannel
from pyserve.wire import messages
from pyserve.wire.frames import WireError


class TemplateCommand(Protocol):
    """Interpreter, name of the app, descriptor of the channel -> command.

    ``code_fd``: a descriptor of the worker's code, where the app's user may not reach it by its path.
    """

    def __call__(self, python: str, title: str, fd: int, /, *, code_fd: int = -1) -> list[str]: ...


CLOSED_BUT_ALIVE_S = 2.0
MAX_TEXT_BYTES = 64 * 1024


class TemplateEvents(Protocol):
    """What the pool wants to know."""

    def template_ready(self) -> None: ...
    def template_forked(self, worker: int, pid: int) -> None: ...
    def template_exited(self, worker: int, status: int, peak_bytes: int) -> None: ...
    def template_failed(self, reason: str) -> None: ...  # it never became ready; another will be tried
    def template_ended(self, template: Template) -> None: ...  # its workers, if any, are ours now


class TemplateKeeper:
    def __init__(
        self, loop: Loop, resources: Resources, app: App, command: TemplateCommand, events: TemplateEvents
    ) -> None:
        self._loop = loop
        self._resources = resources
        self._app = app
        self._command = command
        self._events = events
        self._preload = app.preload
        self._restarts = Restarts()
        self._start_timer: Timer | None = None
        self._retired: dict[int, Template] = {}
        self._is_closing = False
        self._is_hopeless = False
        self._last_text = self._last_reason = ""
        self._next: Template | None = None
        """Imports new code while the current one goes on."""
        self._former: list[Template] = []
        """What the current one took over from, the latest last, as long as they have workers."""
        self.current: Template | None = None
        self.starts = 0

    @property
    def is_ready(self) -> bool:
        return self.current is not None and self.current.is_ready and self._next is None

    @property
    def is_gone(self) -> bool:
        return not self._retired and not self._living()

    def _living(self) -> list[Template]:
        """Return those that are led, not only waited for."""
        return [template for template in (self.current, self._next, *self._former) if template is not None]

    def want(self) -> None:
        """Start a template unless there is one, or one will be tried."""
        if self._start_timer is None:
            self.start()

    def rest(self) -> None:
        """Give up a template that has no workers, until it is wanted again."""
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None
        for template in self._living():
            self._retire(template)

    def renew(self) -> None:
        """Have the next workers import the application again. Where a template has it imported, another is started
        beside it; one that holds nothing of the application is as good as a new one.
        """
        self._restarts = Restarts()
        self._last_text = self._last_reason = ""
        self._is_hopeless = False
        if self._next is not None:
            self._retire(self._next)
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None
        if self.current is not None and self._preload and not self.current.is_ready:
            self._retire(self.current)
        if self.current is None:
            self.start()
        elif self._preload:
            self._next = self._launch()

    def settle(self, used: set[Template | None]) -> None:
        """Let former templates go that have no workers any more."""
        for template in [template for template in self._former if template not in used]:
            self._retire(template)

    def go_back(self, used: set[Template | None]) -> None:
        """The current template's code does not start: have the former one fork again, if it still exists."""
        if self._next is not None:
            self._retire(self._next)
        elif self._former and self.current is not None:
            self.current, self._former[-1] = self._former[-1], self.current
        self.settle(used)

    def start(self) -> None:
        self._start_timer = None
        if not (self._is_closing or self._is_hopeless) and self.current is None:
            self.current = self._launch()

    def _launch(self) -> Template | None:
        """Exec a template; a failure is told, and tried again later."""
        app = self._app
        try:
            channel, pid = self._exec()
        except Refused as refusal:
            self._failed(str(refusal), is_final=refusal.is_final)
            return None
        self.starts += 1
        # Before it gets its SPEC. LIMIT: what a virtual environment's own .pth files start by then is not confined.
        limits = self._resources.isolator.confine(pid, app)
        template: Template = Template(
            pid,
            Line(
                self._loop,
                channel,
                lambda kind, payload: self._heard(template, kind, payload),
                lambda why: self._line_ended(template, why),
            ),
            self._loop.now(),
            self._preload,
        )
        template.boot_timer = self._loop.after(app.startup_timeout_s, lambda: self._too_slow(template))
        template.line.send(messages.pack_values(messages.SPEC, (self._spec() | {"limits": limits},)))
        return template

    def _exec(self) -> tuple[MessageChannel, int]:
        """Return the channel and pid of a new process. Raises ``Refused``."""
        app = self._app
        how = how_to_start(app)
        make_temporary_folder(app.isolation.tmp, how.identity)
        channel, theirs = MessageChannel.pair()
        with theirs:
            fd = theirs.fileno()
            if how.identity is None:
                command, more_fds = self._command(app.python, app.name, fd), []
            else:
                # That user may not be able to enter the folder that our code is in.
                more_fds = [self._resources.isolator.code_fd()]
                command = self._command(app.python, app.name, fd, code_fd=more_fds[0])
            try:
                pid = child.start(
                    command,
                    fd,
                    self._resources.error_fd,
                    cwd=app.root,
                    env=how.env,
                    identity=how.identity,
                    umask=how.umask,
                    more_fds=more_fds,
                )
            except (OSError, ValueError) as error:
                channel.close()
                raise Refused(self._missing(error)) from None
        return channel, pid

    def _spec(self) -> dict[str, object]:
        config = self._resources.config
        more = {"preload": self._preload, "warmup_at": warmup_at(config, self._app.name)}
        return self._app.spec(config.server) | more

    def _missing(self, error: Exception) -> str:
        """Return why the interpreter could not be started; in the words of the config's check if that saw it."""
        prefix = f"app.{self._app.name}."
        known = [p.message for p in self._resources.config.surroundings if p.key.startswith(prefix)]
        if known:
            return known[0]
        isolation = self._app.isolation
        # EACCES would be a file's mode; EPERM comes from what changes users and groups.
        if getattr(error, "errno", 0) == errno.EPERM and (isolation.user or isolation.group):
            name = f"the user {isolation.user!r}" if isolation.user else f"the group {isolation.group!r}"
            return f"this process is not allowed to become {name}: root without the capabilities of root"
        filename = getattr(error, "filename", None) or self._app.python
        return f"{filename}: {getattr(error, 'strerror', None) or error}"

    def _heard(self, template: Template, kind: int, payload: bytes) -> None:
        log, name = self._resources.log, self._app.name
        if kind == messages.FORKED:
            self._events.template_forked(*messages.forked(payload))
        elif kind == messages.EXITED:
            self._events.template_exited(*messages.exited(payload))
        elif kind == messages.TEMPLATE_READY:
            template.is_ready = True
            self._last_reason = ""
            self._stop_timer(template)
            if template is self._next:
                if self.current is not None:
                    self._former.append(self.current)
                self.current, self._next = template, None
            self._events.template_ready()
        elif kind == messages.PRELOAD_DROPPED:
            # It starts itself afresh and says TEMPLATE_READY then; its successors need not try again.
            log.warning(f"app {name}: preload is off: {text_of(payload)}")
            self._preload = False
        elif kind == messages.PRELOAD_FAILED:
            text = text_of(payload)
            if text != self._last_text:
                log.error(f"app {name}: could not be imported:\n{text}")
            self._last_text = text
            self._retire(template)
            self._failed(last_line(text))
        else:
            raise WireError(f"message {kind} from a template")

    def _line_ended(self, template: Template, why: str) -> None:
        """Normally it is about to be waited for; one that broke the rules, or only closed its channel, is of no use."""
        if why:
            self._resources.log.error(f"app {self._app.name}: template (pid {template.pid}): {why}; killed")
            child.kill(template.pid)
        else:
            self._loop.after(CLOSED_BUT_ALIVE_S, lambda: self._kill_if_current(template))

    def _kill_if_current(self, template: Template) -> None:
        if template in self._living() and not self._is_closing:
            child.kill(template.pid)

    def _too_slow(self, template: Template) -> None:
        template.failure = f"not ready within {self._app.startup_timeout_s:g} s (startup_timeout)"
        child.kill(template.pid)

    def _retire(self, template: Template) -> None:
        """Take no more from it: it ends by itself when its channel closes."""
        self._stop_timer(template)
        template.line.close()
        self._retired[template.pid] = template
        self._forget(template)

    def _forget(self, template: Template) -> None:
        if template is self.current:
            self.current = None
        elif template is self._next:
            self._next = None
        elif template in self._former:
            self._former.remove(template)

    @staticmethod
    def _stop_timer(template: Template) -> None:
        if template.boot_timer is not None:
            template.boot_timer.cancel()
            template.boot_timer = None

    def reaped(self, pid: int, status: int) -> bool:
        """A child was waited for; return False if it was no template of this app."""
        if self._bury(pid):
            return True
        template = next((template for template in self._living() if template.pid == pid), None)
        if template is None:
            return False
        # What it still said may retire it, when the import failed and it left by itself.
        template.line.drain()
        if self._bury(pid):
            return True
        self._stop_timer(template)
        template.line.close()
        is_former = template in self._former
        self._forget(template)
        self._events.template_ended(template)
        words = child.exit_words(status)
        if self._is_closing or is_former:
            return True
        if template.is_ready:
            self._resources.log.warning(f"app {self._app.name}: template (pid {pid}) {words}; its workers go on")
            self._again(self._loop.now() - template.started_at)
        else:
            self._failed(template.failure or f"{self._app.python} did not start: {words}; the error log may say more")
        return True

    def _bury(self, pid: int) -> bool:
        """Was this a template that had been let go? Workers that it had left are told as ended."""
        retired = self._retired.pop(pid, None)
        if retired is not None:
            self._events.template_ended(retired)
        return retired is not None

    def _failed(self, reason: str, *, is_final: bool = False) -> None:
        """``is_final``: to try again would be no use."""
        if reason != self._last_reason:
            self._resources.log.error(f"app {self._app.name}: {'not started: ' if is_final else ''}{reason}")
        self._last_reason = reason
        self._is_hopeless = is_final
        if not is_final:
            self._again(0.0)
        self._events.template_failed(reason)

    def _again(self, lived_s: float) -> None:
        now = self._loop.now()
        if self.current is not None:
            return  # it was to take over from this one, which goes on
        self._start_timer = self._loop.after(self._restarts.died(now, lived_s) - now, self.start)

    def send(self, kind: int, values: tuple[int, ...], descriptors: Sequence[int] = ()) -> None:
        if self.current is not None:
            self.current.line.send(messages.pack_values(kind, values, len(descriptors)), descriptors)

    def close(self) -> None:
        """Tell it to end its workers and itself; it is still to be waited for."""
        self._is_closing = True
        if self._start_timer is not None:
            self._start_timer.cancel()
        for template in self._living():
            self._stop_timer(template)
            template.line.close()

    def kill(self) -> list[str]:
        """Kill what still runs; return what that was, in words."""
        templates = [*self._retired.values(), *self._living()]
        killed = [template for template in templates if child.kill(template.pid)]
        return [f"template of {self._app.name} (pid {template.pid})" for template in killed]


def text_of(payload: bytes) -> str:
    """Return a text that another process sent, cut to a length that a log bears."""
    return payload[:MAX_TEXT_BYTES].decode("utf-8", "replace")


def last_line(text: str) -> str:
    """Return the line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"
