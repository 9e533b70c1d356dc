"""The pages of the site as HTML text. Everything that came from a visitor goes through ``escape``."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable, Mapping
from html import escape
from http import HTTPStatus

from notebook import MAX_NAME_CHARACTERS, MAX_NOTES, MAX_TEXT_CHARACTERS, Note
from uploads import Upload

LINKS = (("/", "Home"), ("/notes", "Notes"), ("/upload", "Upload"), ("/request", "Your request"))

STEPS = (
    ("Packet", "Your browser's bytes arrive at the network card, or, on one machine, stay in the kernel."),
    ("Kernel", "TCP puts them in order; the connection waits in the listener's backlog until it is accepted."),
    ("Read", "The front's event loop is woken and reads what is there."),
    ("Parse and route", "Bytes become a request; its host chooses the site, its path the route."),
    ("Run", "A free worker gets the request and calls this application."),
    ("Answer", "The worker's answer goes back to the front, and from there to you."),
)


def _page(title: str, here: str, body: str) -> str:
    links = "".join(
        f'<li><a href="{path}"{" aria-current=page" if path == here else ""}>{name}</a></li>' for path, name in LINKS
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · a-site</title>
<link rel="icon" href="/static/mark.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/style.css">
<script src="/static/site.js" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<a class="brand" href="/"><img src="/static/mark.svg" alt="" width="32" height="32"> a-site</a>
<nav aria-label="Pages"><ul>{links}</ul></nav>
</header>
<main id="content">
<h1>{escape(title)}</h1>
{body}
</main>
<footer>Answered by process {os.getpid()} · Python {platform.python_version()} · served by pyserve</footer>
</body>
</html>
"""


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def home(notes_count: int) -> str:
    steps = "".join(f"<li><strong>{name}</strong><span>{text}</span></li>" for name, text in STEPS)
    return _page(
        "Six steps, one command",
        "/",
        f"""<p class="lead">This page took the whole way from your browser to a Python function and back.</p>
<ol class="steps">{steps}</ol>
<div class="cards">
<a class="card" href="/notes"><h2>Notes</h2><p>A form: posted, checked, escaped. So far: {notes_count}.</p></a>
<a class="card" href="/upload"><h2>Upload</h2><p>Send a file, get its size and SHA-256.</p></a>
<a class="card" href="/request"><h2>Your request</h2><p>What the application was told about it.</p></a>
</div>
<h2>Answered without this application</h2>
<p>The style sheet and the picture come from <code>files = "a-site/static"</code>,
<a href="/ping">/ping</a> from a <code>respond</code> route, and <a href="/guestbook">/guestbook</a> is a
<code>redirect</code> to the notes. See <code>conf/site.toml</code>.</p>""",
    )


def notes(entries: Iterable[Note], problem: str = "") -> str:
    warning = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    items = "".join(
        f'<li class="note"><p>{escape(note.text)}</p><footer><strong>{escape(note.name)}</strong> '
        f'<time datetime="{note.written:%Y-%m-%dT%H:%M:%SZ}">{note.written:%d %b %Y, %H:%M} UTC</time></footer></li>'
        for note in entries
    )
    listing = f'<ul class="notes">{items}</ul>' if items else "<p>Nothing yet. Be the first.</p>"
    return _page(
        "Notes",
        "/notes",
        f"""{warning}<form method="post" action="/notes" class="panel">
<label for="name">Your name <small>(optional)</small></label>
<input id="name" name="name" maxlength="{MAX_NAME_CHARACTERS}" autocomplete="name">
<label for="text">Your note</label>
<textarea id="text" name="text" rows="4" maxlength="{MAX_TEXT_CHARACTERS}" required></textarea>
<button>Add the note</button>
</form>
<h2>What others wrote</h2>
{listing}
<p><small>The last {MAX_NOTES} notes are kept in memory, until the server stops.</small></p>""",
    )


def upload(received: Upload | None = None) -> str:
    result = ""
    if received:
        facts = _definitions(
            (
                ("File", received.file_name),
                ("Size", f"{received.size_bytes:,} bytes"),
                ("SHA-256", received.sha256),
            )
        )
        result = f'<section class="panel" role="status"><h2>Received</h2>{facts}</section>'
    return _page(
        "Upload",
        "/upload",
        f"""{result}<form method="post" action="/upload" enctype="multipart/form-data" class="panel">
<label for="file">A file, up to 256 MiB</label>
<input id="file" name="file" type="file" required>
<button>Send it</button>
</form>
<p>The file is read in pieces, hashed and forgotten. Compare with <code>sha256sum</code>.</p>""",
    )


def request(environ: Mapping[str, object]) -> str:
    headers, facts, server = [], [], []
    for name, value in sorted(environ.items()):
        if name in ("HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"):
            value = "(not shown)"
        if name.startswith("HTTP_"):
            headers.append((name, str(value)))
        elif name.startswith("wsgi."):
            server.append((name, str(value) if isinstance(value, (str, bool, tuple)) else type(value).__name__))
        elif name in CGI_NAMES:
            facts.append((name, str(value)))
    server.append(("thread", threading.current_thread().name))
    return _page(
        "Your request",
        "/request",
        f"""<p class="lead">What a WSGI application is told: a dictionary, the <em>environ</em> of PEP 3333.</p>
<section class="panel"><h2>The request</h2>{_definitions(facts)}</section>
<section class="panel"><h2>Your browser's header fields</h2>{_definitions(headers)}</section>
<section class="panel"><h2>The server</h2>{_definitions(server)}</section>""",
    )


# Named one by one: the rest of an environ may be the server's environment variables, which are nobody's business.
CGI_NAMES = frozenset(
    {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH"}
    | {"SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REMOTE_ADDR", "REMOTE_PORT"}
)


def problem(status: HTTPStatus, reason: str) -> str:
    text = f'<p class="lead">{escape(reason)}</p><p><a href="/">Back to the first page</a></p>'
    return _page(f"{status.value} {status.phrase}", "", text)
