"""The configuration as frozen values: what the rest of the program sees of site.toml.

Pure. Made by ``config.decode``; every path is absolute, every duration is in seconds, every size in bytes, every
reference ({file = …}, {env = …}) is resolved. Plain values only, so that a snapshot can be handed to a front.

Named tuples, because master and front make these classes at every start: a frozen dataclass with slots costs 1.3 ms.
Two values of different classes with equal fields are equal, so tell them apart by class, never by ``==``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pyserve.errors import Problem


class Listener(NamedTuple):
    """One address to accept on: TCP (``host``, ``port``; IPv6 without brackets; "" = every address) or a Unix path."""

    host: str = ""
    port: int = 0
    unix_path: str = ""
    proxy_protocol: bool = False
    """Each connection begins with a PROXY protocol header, from a trusted proxy."""
    is_tls: bool = False

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Limits(NamedTuple):
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 60.0
    keepalive_timeout_s: float = 75.0
    min_rate_bytes: int = 500
    """A second: what a body has to bring, and a client to take of its answer, over each ``body_timeout`` or
    ``write_timeout``; 0 = any progress is enough."""
    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_body_bytes: int = 100 * 1024 * 1024
    max_connections: int = 10_000
    response_spool_bytes: int = 1024**3
    """Most that one answer of an application may take on disk while its client reads slowly."""
    spool_dir: str = ""
    """Absolute; decode fills in the system's temporary folder, or /var/tmp where that one is in memory."""
    max_streams: int = 100
    """Requests at once on one HTTP/2 connection."""


class AccessLog(NamedTuple):
    file: str = "-"
    """Absolute path, or "-" for stdout."""
    format: str = "combined"
    """"combined" or "json"."""


class ErrorLog(NamedTuple):
    file: str = "-"
    """Absolute path, or "-" for stderr."""
    level: Literal["debug", "info", "warning", "error"] = "info"


class Log(NamedTuple):
    access: AccessLog | None = AccessLog()
    """None = no access log."""
    error: ErrorLog = ErrorLog()


class Acme(NamedTuple):
    """How a site gets its certificate by itself (RFC 8555): from whom, as whom, and where it is kept."""

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    email: str = ""
    """Whom the authority writes to; "" = nobody."""
    challenges: tuple[str, ...] = ("http-01", "tls-alpn-01")
    """In the order in which they are tried."""
    storage: str = ""
    """Absolute: account, keys and certificates; may be shared by several machines."""
    key: Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096"] = "ecdsa-p256"
    """Of the certificate."""
    renew_before_s: float = 0.0
    """Before its end; 0 = when a third of its life is left, or when the authority says so (RFC 9773)."""
    profile: str = ""
    """Which kind of certificate, by a name of the authority's; "" = its default."""
    ca: str = ""
    """Absolute: a file with who is trusted to sign for the authority's own address; "" = the usual ones."""
    external_id: str = ""
    external_key: str = ""
    """The account at the authority that ours is bound to, where it asks for one. Never printed: it is a secret."""

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "external_key")
        return f"Acme({', '.join(shown)})"


class Server(NamedTuple):
    http: tuple[Listener, ...]
    admin: str
    """Absolute path of the admin socket; its folder is made with mode 0700."""
    fronts: int = 1
    user: str = ""
    """Fronts drop to this user; "" = stay."""
    graceful_timeout_s: float = 30.0
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks as ``ipaddress`` reads them, and "unix:": whose word about the client is believed."""
    parser: Literal["httptools", "h11"] = "httptools"
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    limits: Limits = Limits()
    http2: bool = True
    """Offered to clients that speak TLS."""
    h2c: bool = False
    """HTTP/2 in clear text too, for clients that begin with it."""
    memory_bytes: int = 0
    """Most that the workers of all applications may take together before idle ones are given up; 0 = no budget."""
    https: tuple[Listener, ...] = ()
    acme: Acme = Acme()
    """What sites that get their certificates by themselves begin with."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return all, in the order in which they are bound and handed out."""
        return self.http + self.https


class Scaling(NamedTuple):
    """How many workers an application has when little is to be done; ``App.workers`` is the most."""

    least: int
    """0: none while nobody asks; the first request waits for the boot."""
    idle_s: float = 300.0
    """How long a worker has had to be unneeded before it is stopped."""


class Recycling(NamedTuple):
    """When a worker is replaced although it works; 0 = never."""

    max_requests: int = 0
    """Each worker's own number is up to a tenth lower, so that they don't go all at once."""
    max_age_s: float = 0.0
    soft_memory_bytes: int = 0
    """Private memory at which it is replaced: another starts, then it finishes what it runs."""
    hard_memory_bytes: int = 0
    """Private memory at which it is killed."""


class ResourceLimits(NamedTuple):
    """How much the processes of an application may take; 0 = no limit of ours."""

    open_files: int = 0
    address_space_bytes: int = 0
    cpu_time_s: int = 0
    """Of one worker in all its life."""
    nice: int | None = None
    """None: as pyserve itself."""
    memory_bytes: int = 0
    """This one and the next two are of all processes of the application together."""
    cpus: float = 0.0
    processes: int = 0
    """Threads count as well."""


class Isolation(NamedTuple):
    """Whom the processes of an application run as, and within which bounds; "" and None = as pyserve itself."""

    user: str = ""
    group: str = ""
    """"" = the user's own."""
    umask: int | None = None
    tmp: str = ""
    """Absolute: their temporary folder."""
    limits: ResourceLimits = ResourceLimits()


class WebSocket(NamedTuple):
    """How an application's WebSockets are spoken."""

    max_message_bytes: int = 16 * 1024 * 1024
    ping_interval_s: float = 20.0
    """After so long without a word of the client it is asked whether it is there; 0 = never."""
    ping_timeout_s: float = 20.0
    """So long it may take to answer; 0 = for ever."""
    close_timeout_s: float = 10.0
    compress: bool = True
    """permessage-deflate, for clients that offer it."""
    context_takeover: bool = False
    """Keep the state of compression between messages: smaller messages, up to 65 KiB of memory for each WebSocket."""
    origins: tuple[str, ...] = ()
    """Of pages that may open one, in lower case; "same" = of the site itself; () = all."""


class App(NamedTuple):
    """One application. ``root`` is the working directory and first on sys.path; ``python`` the interpreter."""

    name: str
    module: str
    attribute: str
    """May be dotted: ``api.app``."""
    root: str
    python: str
    type: Literal["auto", "wsgi", "asgi"] = "auto"
    factory: bool = False
    env: tuple[tuple[str, str], ...] = ()
    """Added to the environment. Never printed: values may be secrets."""
    workers: int = 1
    """0: none is started; an embedding process runs the application itself (never from a file)."""
    threads: int = 1
    concurrency: int = 100
    timeout_s: float = 30.0
    startup_timeout_s: float = 60.0
    queue_size: int = 200
    queue_timeout_s: float = 10.0
    preload: bool = False
    scaling: Scaling | None = None
    """None: always ``workers``."""
    recycling: Recycling = Recycling()
    warmup: tuple[str, ...] = ()
    """Targets (path and query) that a worker answers to itself before it gets requests."""
    health: tuple[str, ...] = ()
    """Paths that are answered before all others, and when the queue is full."""
    isolation: Isolation = Isolation()
    hand_over: tuple[tuple[str, str], ...] = ()
    """Path prefixes of ``X-Accel-Redirect`` and the folders that they stand for; ``X-Sendfile`` may name a path below
    these folders."""
    websockets: int = 1000
    """So many in one worker."""
    websocket: WebSocket = WebSocket()
    fault: str = ""
    """Not empty: a value that it refers to is missing (a secret's file, a variable). It can't be started as it is meant
    to be, so it is not started at all, and this is the reason to show."""

    def spec(self, server: Server) -> dict[str, object]:
        """Return what the application's own interpreter has to know: plain values, the first message to a template."""
        return {
            "name": self.name,
            "module": self.module,
            "attribute": self.attribute,
            "type": self.type,
            "factory": self.factory,
            "root": self.root,
            "threads": self.threads,
            "concurrency": self.concurrency,
            "websockets": self.websockets,
            "preload": self.preload,
            "warmup": list(self.warmup),
            "startup_s": self.startup_timeout_s,
            "fronts": server.fronts,
            "grace_s": server.graceful_timeout_s,
        }

    def __repr__(self) -> str:
        return f"App({', '.join(f'{name}={value!r}' for name, value in self._asdict().items() if name != 'env')})"


class Files(NamedTuple):
    """Handler: answer from a folder (or from one file, on an exact route)."""

    path: str
    is_single: bool = False
    """True: ``path`` is the one file that an exact route names."""
    # The field hides a method of tuples that nobody misses here.
    index: tuple[str, ...] = ("index.html",)  # type: ignore[assignment]
    tries: tuple[str, ...] = ()
    """Entries of ``try`` with ``{path}`` in them; () = the path itself, then the index of a folder."""
    cache: str = ""
    """The value of ``Cache-Control``; "" = validators only."""
    symlinks: bool = False
    autoindex: bool = False
    """List folders that have no index file."""
    dotfiles: bool = False
    """Serve names that begin with a dot; ``.well-known`` is served always."""
    precompressed: bool = True
    """Use ``x.br``, ``x.zst``, ``x.gz`` beside ``x``."""
    types: tuple[tuple[str, str], ...] = ()
    """Suffix in lower case without its dot, and the media type that it has here."""
    charset: str = "utf-8"
    """Of types that are text; "" = none is said."""
    download: bool = False
    """A query ``download`` or ``download=NAME`` asks for ``Content-Disposition: attachment``."""


class RunApp(NamedTuple):
    """Handler: hand the request to an application's workers."""

    app: str
    mount: str = ""
    """The literal prefix to move into SCRIPT_NAME / root_path; "" = no ``mount``."""


class Redirect(NamedTuple):
    to: str
    status: int = 308


class Respond(NamedTuple):
    status: int = 200
    body: str = ""
    type: str = "text/plain; charset=utf-8"


class Challenges(NamedTuple):
    """Handler: answer an authority's http-01 challenges from ``Acme.storage``. No key: sites with ``acme`` have it."""

    storage: str


Handler = Files | RunApp | Redirect | Respond | Challenges


class Compress(NamedTuple):
    """Compression on the fly."""

    types: tuple[str, ...] = (
        *("text/*", "application/json", "application/*+json", "application/javascript", "application/xml"),
        *("application/*+xml", "application/wasm", "application/yaml", "application/toml", "application/rtf"),
        *("application/vnd.ms-fontobject", "image/svg+xml", "image/bmp", "image/x-icon", "font/ttf", "font/otf"),
    )
    """Media types without parameters; ``*`` stands for any run of characters."""
    min_bytes: int = 1024
    codings: tuple[str, ...] = ("br", "zstd", "gzip")
    """In the order of preference among those that a client likes equally."""


class ErrorPage(NamedTuple):
    """What a client gets instead of the built-in page: a file, or what an application answers to GET ``path``; neither:
    the built-in page, where the class or the site has another."""

    status: str
    """"404", or a class: "4xx", "5xx"."""
    file: str = ""
    app: str = ""
    path: str = ""


class Modifiers(NamedTuple):
    """What modifies any handler; a route has those of its site where it has none of its own."""

    headers: tuple[tuple[str, str], ...] = ()
    """Name in lower case and value; a value of "" takes the field away."""
    compress: Compress | None = None
    early_hints: tuple[str, ...] = ()
    """Values of ``Link``."""
    error_pages: tuple[ErrorPage, ...] = ()


class Route(NamedTuple):
    path: str
    """As written: exact "/x", prefix "/x/*", or "~regex"."""
    handler: Handler
    modifiers: Modifiers = Modifiers()


class Tls(NamedTuple):
    """How a site is served on https. Paths are absolute."""

    cert: str = ""
    key: str = ""
    """May be the same file."""
    client_ca: str = ""
    """Not empty: clients show a certificate of one of these authorities, as ``client_auth`` says."""
    client_auth: Literal["none", "optional", "required"] = "none"
    min_version: Literal["1.2", "1.3"] = "1.2"
    redirect: bool = True
    """Plain http answers with where the site is on https."""
    redirect_port: int = 0
    """The port in that answer; 0 = that of the first https listener."""
    local_ca: str = ""
    """Not empty, in place of ``cert`` and ``key``: the folder of a local authority, made at need; "~" = the user's."""
    hsts: str = ""
    """The value of ``Strict-Transport-Security``; "" = none."""
    is_awaited: bool = False
    """We get the certificate ourselves (``Site.acme``), so its file may not be there yet."""

    @property
    def policy(self) -> tuple[str, str, str]:
        """Return what a handshake settles about a connection beside the name: sites that differ in it share none."""
        return (self.client_ca, self.client_auth, self.min_version)


class Site(NamedTuple):
    name: str
    hosts: tuple[str, ...]
    """As written: exact (lower case), "*.wildcard", or "~regex"."""
    default: bool = False
    handler: Handler | None = None
    routes: tuple[Route, ...] = ()
    max_body_bytes: int | None = None
    modifiers: Modifiers = Modifiers()
    fault: str = ""
    """Not empty: something outside the file that the site names was missing when it was read; for ``status``."""
    tls: Tls | None = None
    acme: Acme | None = None
    """How it gets what ``tls`` names; None: the operator brings it."""


class Config(NamedTuple):
    server: Server
    log: Log = Log()
    apps: tuple[App, ...] = ()
    sites: tuple[Site, ...] = ()
    files: tuple[str, ...] = ()
    """The files it was read from, absolute."""
    surroundings: tuple[Problem, ...] = ()
    """What is well formed but missing outside the file; ``run`` starts all the same."""
