"""nginx and pyserve side by side on one folder of files, to be asked the same: see ``files_like_nginx``.

Both are configured as their own documentation does it, with a host name for each purpose. An answer becomes a few words
(status, what the body is beside the file, fields that matter) without anything that differs from run to run.
"""

from __future__ import annotations

import email.utils
import gzip
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import wsgiref.simple_server
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

import brotli
from backports import zstd

from tests.apps import accel_wsgi
from tests.support import tools
from tests.support.client import Client, Response, request
from tests.support.site import Site
from tests.support.waiting import wait_until

MODIFIED_S = 1_767_225_600
"""When all files were modified last: 2026-01-01. No clock plays a part, and nothing counts as just written."""
BIG = 1024 * 1024
MARKER = 200_003
"""The size of a file that is asked for only to see in a trace that everything before it is there."""
HUGE = 5 * 1024**3
HUGE_END = b"the last bytes of 5 GiB"
SUFFIXES = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda data: bytes(brotli.decompress(data)),
    "zstd": lambda data: bytes(zstd.decompress(data)),
    "gzip": lambda data: zlib.decompress(data, 31),
}
TYPED_SUFFIXES = (
    *("html", "css", "js", "mjs", "json", "xml", "svg", "wasm"),
    *("woff2", "webp", "avif", "md", "csv", "webmanifest", "odd"),
)
HOSTILE_NAMES = (
    b"<img src=x onerror=alert(1)>.txt",
    b'" onclick="alert(1).txt',
    b"javascript:alert(1)",
    b"&lt;b&gt;.txt",
    "invoice\u202etxt.exe".encode(),
    b"two\nlines.txt",
)

PYSERVE_SITES = """
[app.accel]
entry = "accel_wsgi:application"
root = "APPS"
workers = 1
hand_over = { "/protected" = "PUBLIC" }

[site.app]
hosts = ["app"]
app = "accel"

[site.files]
hosts = ["files", "packed", "cached"]
files = "PUBLIC"

[site.coded]
hosts = ["coded"]
files = "PUBLIC"
compress = true

[site.listed]
hosts = ["listed", "json"]
files = "PUBLIC"
autoindex = true

[site.spa]
hosts = ["spa"]
files = "PUBLIC"
try = ["{path}", "{path}/", "index.html"]

[site.strict]
hosts = ["strict"]
files = "PUBLIC"
try = ["{path}", "=404"]

[site.pages]
hosts = ["pages"]
files = "PUBLIC"
error_pages = { 404 = "PUBLIC/errors/404.html", 405 = "PUBLIC/errors/4xx.html", 416 = "PUBLIC/errors/4xx.html" }

[site.lasting]
hosts = ["lasting"]
files = "PUBLIC"
cache = "30d"
headers = { X-Own = "yes" }

[site.typed]
hosts = ["typed"]
files = "PUBLIC"
types = { ".gmi" = "text/gemini" }
charset = "iso-8859-1"
"""

NGINX_CONFIG = """
USER
daemon off;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/nginx-error.log;
events { worker_connections 256; }
http {
  include MIME_TYPES;
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  charset utf-8;
  root PUBLIC;
  TEMPORARY
  server { listen 127.0.0.1:PORT default_server; server_name files; }
  server { listen 127.0.0.1:PORT; server_name packed; gzip_static on; gzip_vary on; }
  server {
    listen 127.0.0.1:PORT; server_name coded;
    gzip on; gzip_vary on; gzip_min_length 1024;
    gzip_types text/plain text/css text/javascript application/javascript application/json image/svg+xml;
  }
  server { listen 127.0.0.1:PORT; server_name cached; open_file_cache max=1000; }
  server { listen 127.0.0.1:PORT; server_name listed; autoindex on; }
  server { listen 127.0.0.1:PORT; server_name json; autoindex on; autoindex_format json; }
  server { listen 127.0.0.1:PORT; server_name spa; location / { try_files $uri $uri/ /index.html; } }
  server { listen 127.0.0.1:PORT; server_name strict; location / { try_files $uri =404; } }
  server {
    listen 127.0.0.1:PORT; server_name pages;
    error_page 404 /errors/404.html;
    error_page 405 416 /errors/4xx.html;
    location /errors/ { internal; }
  }
  server { listen 127.0.0.1:PORT; server_name lasting; expires 30d; add_header X-Own yes; }
  server {
    listen 127.0.0.1:PORT; server_name typed; charset iso-8859-1;
    include MIME_TYPES;
    types { text/gemini gmi; }
    charset_types text/gemini text/css;
  }
  server {
    listen 127.0.0.1:PORT; server_name app;
    location / { proxy_pass http://127.0.0.1:UPSTREAM; }
    location /protected/ { internal; alias PUBLIC/; }
  }
}
"""


def make_folder(public: Path) -> None:
    """Fill the folder that both serve: files of every kind that a request of the table names."""
    text = b"".join(b"%d bottles of beer on the wall, %d bottles of beer\n" % (count, count) for count in range(400))
    files: dict[bytes, bytes] = {
        b"index.html": b"<h1>index</h1>\n",
        b"note.txt": b"0123456789" * 50,
        b"empty.txt": b"",
        b"style.css": text,
        b"small.css": b"a { color: red }\n",
        b"app.js": text,
        b"old.js": text,
        b"photo.png": text,
        b"big.bin": os.urandom(BIG),
        b"marker.bin": os.urandom(MARKER),
        b"sub/index.html": b"<h1>sub</h1>\n",
        b"bare/note.txt": b"bare\n",
        b".env": b"SECRET=1\n",
        b".well-known/security.txt": b"Contact: mailto:a@example\n",
        b"two words.txt": b"two words\n",
        "na\u00efve.txt".encode(): b"UTF-8\n",
        b"caf\xe9.txt": b"not UTF-8\n",
        b"100%.txt": b"per cent\n",
        b"a+b?.txt": b"delimiters\n",
        b"errors/404.html": b"<h1>own page: not here</h1>\n",
        b"errors/4xx.html": b"<h1>own page: no</h1>\n",
        b"page.gmi": b"# gemini\n",
        b"list/v10.txt": b"10",
        b"list/v9.txt": b"999",
        b"list/Upper.txt": b"1",
        b"list/.hidden": b"",
        b"list/folder/x": b"",
        b"hostile/caf\xe9.txt": b"",
    }
    for suffix in TYPED_SUFFIXES:
        files[f"type.{suffix}".encode()] = b"x"
    files[b"TYPE.HTML"] = b"x"
    for name in HOSTILE_NAMES:
        files[b"hostile/" + name] = b""
    for coded in (b"app.js", b"old.js"):
        files[coded + b".gz"] = gzip.compress(text, mtime=0)
    files[b"app.js.br"] = brotli.compress(text)
    files[b"app.js.zst"] = bytes(zstd.compress(text))
    root = os.fsencode(public)
    for name, content in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    with open(public / "huge.bin", "wb") as file:
        file.truncate(HUGE - len(HUGE_END))
        file.seek(0, os.SEEK_END)
        file.write(HUGE_END)
    (public.parent / "secret.txt").write_text("secret\n")
    (public / "inside.txt").symlink_to("note.txt")
    (public / "outside.txt").symlink_to(public.parent / "secret.txt")
    (public / "list/outside.txt").symlink_to(public.parent / "secret.txt")
    os.mkfifo(public / "fifo")
    (public / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(public, os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{here}/socket")  # whatever the length of the folder's own path
        finally:
            os.close(here)
    for folder, _, names in os.walk(root, topdown=False):
        for name in [os.path.join(folder, name) for name in names] + [folder]:
            if not os.path.islink(name):
                os.utime(name, (MODIFIED_S, MODIFIED_S))
    os.utime(public / "old.js.gz", (MODIFIED_S - 86_400,) * 2)


class Server:
    """One of the two, running. ``trace``: where its calls of sendfile(2) are written down, if they are."""

    def __init__(self, name: str, address: tuple[str, int], public: Path, trace: Path | None = None) -> None:
        self.name = name
        self.address = address
        self.public = public
        self._trace = trace

    def ask(self, path: str, host: str = "files", method: str = "GET", **fields: str) -> Response:
        """Send a request on a connection of its own. ``If_Match="{etag}"``: fields may name what an answer to the same
        request without conditions said."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if any("{" in value for value in named.values()):
            plain = {name: value for name, value in named.items() if name.startswith("Accept")}
            named = self._filled(named, self._send(path, host, "GET", plain))
        return self._send(path, host, method, named)

    def _send(self, path: str, host: str, method: str, fields: dict[str, str]) -> Response:
        with Client(self.address) as client:
            data = request(path, host, method, b"x" if method == "POST" else b"", fields)
            return client.ask(data, to_head=method == "HEAD")

    @staticmethod
    def _filled(fields: dict[str, str], answer: Response) -> dict[str, str]:
        dates = {"date": 0, "later": 86_400, "earlier": -86_400}
        known = {name: email.utils.formatdate(MODIFIED_S + more_s, usegmt=True) for name, more_s in dates.items()}
        known["etag"] = answer.field("etag") or ""
        known["weak"] = "W/" + known["etag"].removeprefix("W/")
        assert answer.field("last-modified") == known["date"]
        return {name: re.sub(r"\{(\w+)\}", lambda found: known[found[1]], value) for name, value in fields.items()}

    def tell(self, path: str, host: str = "files", method: str = "GET", show: str = "", **fields: str) -> str:
        """Return the status, what the body is, and of the fields named in ``show`` what they say."""
        answer = self.ask(path, host, method, **fields)
        name = os.path.join(os.fsencode(self.public), unquote_to_bytes(path.partition("?")[0]).lstrip(b"/"))
        words = [str(answer.status), *describe(answer, name)]
        return ", ".join([*words, *[describe_field(answer, field) for field in show.split()]])

    def moved(self) -> int:
        """Return how many bytes sendfile(2) has moved so far."""
        assert self._trace
        lines = [line for line in self._trace.read_text().splitlines() if "sendfile" in line and " = " in line]
        results = [line.rsplit(" = ", 1)[1].split()[0] for line in lines]
        return sum(int(result) for result in results if result.isdigit())


def describe(answer: Response, path: bytes) -> list[str]:
    """Compare a body with the file that was asked for."""
    if answer.status == 200 and answer.body:
        with open(path, "rb") as file:
            return [_what_is(answer, file.read(), path)]
    if answer.status == 206:
        return [_what_part(answer, path)]
    if answer.status == 200 and answer.field("content-length") == "0":
        return ["empty"]
    return []


def _what_is(answer: Response, content: bytes, path: bytes) -> str:
    coding = answer.field("content-encoding")
    if coding is None:
        return "the file" if answer.body == content else "something else"
    if DECODERS[coding](answer.body) != content:
        return f"{coding} of something else"
    beside = path + SUFFIXES[coding]
    if os.path.exists(beside):
        with open(beside, "rb") as file:
            if answer.body == file.read():
                return f"the `{SUFFIXES[coding].decode()}` beside it"
    return f"{coding}, made here"


def _what_part(answer: Response, path: bytes) -> str:
    coding = answer.field("content-encoding")
    if coding is not None:
        beside = SUFFIXES[coding]
        part = _check_part(answer.field("content-range") or "", answer.body, path + beside)
        return f"{part} of the `{beside.decode()}` beside it"
    media_type = answer.field("content-type") or ""
    if not media_type.startswith("multipart/byteranges"):
        return _check_part(answer.field("content-range") or "", answer.body, path)
    boundary = media_type.partition("boundary=")[2].strip('"').encode()
    pieces = answer.body.split(b"--" + boundary)
    assert pieces[-1] == b"--\r\n", "a multipart body has its end"
    said = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        span = re.search(rb"(?i)content-range: ([^\r]*)", head)
        assert span, head
        said.append(_check_part(span[1].decode(), body.removesuffix(b"\r\n"), path).removeprefix("bytes "))
    return f"parts {' '.join(said)}" if len(said) <= 4 else f"{len(said)} parts"


def _check_part(span: str, body: bytes, path: bytes) -> str:
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", span)
    assert found, span
    first, last, size = map(int, found.groups())
    with open(path, "rb") as file:
        file.seek(first)
        assert file.read(last + 1 - first) == body, "the bytes that Content-Range says"
        assert size == os.fstat(file.fileno()).st_size
    return f"bytes {first}-{last}"


def describe_field(answer: Response, name: str) -> str:
    values = [value for key, value in answer.fields if key == name.lower()]
    if not values:
        return f"no {name}"
    if name == "ETag":
        return "weak ETag" if values[0].startswith("W/") else "strong ETag"
    if name in ("Last-Modified", "Vary", "Expires"):
        return name
    return f"`{name}: {', '.join(values)}`"


@contextmanager
def pyserve(folder: Path, public: Path, *, traces: bool = False) -> Iterator[Server]:
    folder.mkdir()
    text = PYSERVE_SITES.replace("PUBLIC", str(public))
    trace = folder / "trace"
    site = Site(folder, text, under=_strace(trace) if traces else None)
    try:
        site.wait_ready()
        yield Server("pyserve", site.address, public, trace if traces else None)
        if traces:
            # strace passes no signals on: the program is stopped over its own socket.
            site.admin("stop")
            assert site.wait_exit() == 0
        site.assert_no_trace()
    finally:
        site.end_by_force()
        print(f"--- {site.config} stderr ---", *site.lines[-200:], sep="\n")


@contextmanager
def nginx(folder: Path, public: Path, *, traces: bool = False) -> Iterator[Server]:
    folder.mkdir()
    program = tools.find("nginx")
    assert program, "the test has to say that it needs nginx"
    trace, config, pid_file = folder / "trace", folder / "nginx.conf", folder / "nginx.pid"
    address = ("127.0.0.1", _free_port())
    command = [program, "-p", f"{folder}/", "-c", str(config), "-e", f"{folder}/nginx-error.log"]
    with _upstream() as upstream_port, open(folder / "nginx-error.log", "ab") as output:
        config.write_text(nginx_config(folder, public, address[1], upstream_port))
        child = subprocess.Popen(
            [*(_strace(trace) if traces else []), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_until(lambda: child.poll() is not None or _accepts(address), "nginx")
            assert child.poll() is None, (folder / "nginx-error.log").read_text()
            yield Server("nginx", address, public, trace if traces else None)
        finally:
            # strace passes no signals on.
            pid = int(pid_file.read_text()) if pid_file.exists() else child.pid
            if child.poll() is None:
                os.kill(pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    return True


def nginx_config(folder: Path, public: Path, port: int, upstream_port: int) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = {
        "USER": f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else "",
        "MIME_TYPES": "/etc/nginx/mime.types",
        "TEMPORARY": " ".join(f"{kind}_temp_path {folder}/tmp-{kind};" for kind in kinds),
        "FOLDER": str(folder),
        "PUBLIC": str(public),
        "PORT": str(port),
        "UPSTREAM": str(upstream_port),
    }
    return re.sub("|".join(places), lambda found: places[found[0]], NGINX_CONFIG)


def nginx_version() -> str:
    """Return "1.22.1", or "" where there is no nginx."""
    program = tools.find("nginx")
    if not program:
        return ""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition("/")[2].split()[0]


def _strace(trace: Path) -> list[str]:
    strace = tools.find("strace")
    assert strace, "the test has to say that it needs strace"
    return [strace, "-f", "-e", "trace=sendfile", "-o", str(trace)]


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _upstream() -> Iterator[int]:
    """Run the application as a server of its own, for nginx to pass requests to."""
    with wsgiref.simple_server.make_server("127.0.0.1", 0, accel_wsgi.application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
