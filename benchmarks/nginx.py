"""nginx's configuration: one worker process, as its own documentation advises for what is measured.

Generous to nginx where its defaults would cost it something here: keep-alive towards the application without a limit of
requests, an open file cache that holds every file (unless a question asks for less). The access log is the plain
``access_log file combined`` that everyone has, unbuffered.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from benchmarks.identity import Identity
from benchmarks.servers import Program

WORKER_CONNECTIONS = 20_000


OPEN_FILE_CACHE = 4000
# Mozilla's intermediate profile, as its generator writes it.
TLS = """    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:prime256v1:secp384r1;
    ssl_prefer_server_ciphers off;
    ssl_session_timeout 1d;
    ssl_session_cache shared:SSL:10m;
"""


def nginx_config(
    folder: Path,
    port: int,
    location: str,
    upstream: str = "",
    open_file_cache: int = OPEN_FILE_CACHE,
    identity: Identity | None = None,
) -> str:
    """Return a whole nginx.conf; ``location`` is the body of ``location /``, ``upstream`` that of ``upstream app``.

    ``open_file_cache``: how many files nginx may keep open. ``identity``: over TLS, with this certificate.
    """
    tls = "" if identity is None else TLS.format(cert=identity.cert, key=identity.key)
    ssl = "" if identity is None else " ssl http2"
    user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
    upstream_block = f"  upstream app {{\n{_indent(upstream, 4)}\n  }}\n" if upstream else ""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/tmp-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_rlimit_nofile {WORKER_CONNECTIONS};
events {{ worker_connections {WORKER_CONNECTIONS}; }}
http {{
  types {{ text/plain txt; text/javascript js; application/octet-stream bin; }}
  default_type application/octet-stream;
  access_log {folder}/nginx-access.log combined;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 75s;
  keepalive_requests 100000000;
  open_file_cache max={open_file_cache} inactive=60s;
  open_file_cache_valid 30s;
{temporary}{upstream_block}  server {{
    listen 127.0.0.1:{port}{ssl};
    server_name bench.localhost;
{tls}    location / {{
{_indent(location, 6)}
    }}
  }}
}}
"""


def nginx_program(nginx: str, folder: Path) -> Program:
    argv = (nginx, "-p", f"{folder}/", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/nginx-error.log")
    return Program(argv, folder / "nginx-error.log")


PROXY_LOCATION = """proxy_pass http://app;
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;"""


def proxy_upstream(socket_path: Path, keepalive: bool) -> str:
    """The application's Unix socket; ``keepalive``: 64 idle connections to it are kept."""
    server = f"server unix:{socket_path} fail_timeout=0;"
    return server + ("\nkeepalive 64;\nkeepalive_requests 100000000;" if keepalive else "")


# nginx's own uwsgi_params file.
UWSGI_LOCATION = "uwsgi_pass app;\n" + "\n".join(
    f"uwsgi_param {name} {value};"
    for name, value in (
        ("QUERY_STRING", "$query_string"),
        ("REQUEST_METHOD", "$request_method"),
        ("CONTENT_TYPE", "$content_type"),
        ("CONTENT_LENGTH", "$content_length"),
        ("REQUEST_URI", "$request_uri"),
        ("PATH_INFO", "$document_uri"),
        ("DOCUMENT_ROOT", "$document_root"),
        ("SERVER_PROTOCOL", "$server_protocol"),
        ("REQUEST_SCHEME", "$scheme"),
        ("HTTPS", "$https if_not_empty"),
        ("REMOTE_ADDR", "$remote_addr"),
        ("REMOTE_PORT", "$remote_port"),
        ("SERVER_PORT", "$server_port"),
        ("SERVER_NAME", "$server_name"),
    )
)


def _indent(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.splitlines())
