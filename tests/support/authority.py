"""An authority to get certificates from: Pebble, the test server of Let's Encrypt, with its DNS; and one that refuses.

Each has an address of its own on this machine. Pebble looks at names where it is told to: on the ports of the server
under test.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import tools
from tests.support.waiting import wait_until


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make_own_certificate(folder: Path) -> Path:
    """Write ``ca.pem`` (certificate) and ``ca.key`` for 127.0.0.1; return the former, which is to be trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test authority")])
    now = datetime.datetime.now(datetime.UTC)
    usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(**usage, **dict.fromkeys(others, False), decipher_only=False),  # type: ignore[arg-type]
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path = folder / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


class Pebble:
    """``http_port`` and ``tls_port``: where it looks, free until a server takes them."""

    def __init__(self, folder: Path, *, valid_s: int = 0, blocked: tuple[str, ...] = (), binding: str = "") -> None:
        """``valid_s``: how long certificates live, 0 = years. ``blocked``: names that it refuses. ``binding``: the
        key of the account "me" that new accounts have to be bound to."""
        folder.mkdir(exist_ok=True)
        self.ca = make_own_certificate(folder)
        self.http_port, self.tls_port = free_port(), free_port()
        self._acme, self._management, self._dns = free_port(), free_port(), free_port()
        self.directory = f"https://127.0.0.1:{self._acme}/dir"
        config: dict[str, object] = {
            "listenAddress": f"127.0.0.1:{self._acme}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.ca),
            "privateKey": str(folder / "ca.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "domainBlocklist": list(blocked),
        }
        if valid_s:
            config["certificateValidityPeriod"] = valid_s
        if binding:
            config |= {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"me": binding}}
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        self._log = folder / "pebble.log"
        dns = f"127.0.0.1:{self._dns}"
        nothing = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
        management = f"127.0.0.1:{free_port()}"
        self._pebble = ("pebble", "-strict", "-config", str(folder / "pebble.json"), "-dnsserver", dns)
        self._processes = [
            self._start("pebble-challtestsrv", "-dns01", dns, "-management", management, *nothing),
            self._start(*self._pebble),
        ]
        self._trust = ssl.create_default_context(cafile=str(self.ca))
        wait_until(self._answers, f"pebble in {self._log}")

    def _start(self, tool: str, *arguments: str) -> subprocess.Popen[bytes]:
        program = tools.find(tool)
        assert program is not None
        # As fast as it goes, but with nonces refused now and then, as in its own default.
        env = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0", "PEBBLE_WFE_NONCEREJECT": "15"}
        with open(self._log, "ab") as log:
            return subprocess.Popen([program, *arguments], stdout=log, stderr=log, env=env)

    def _answers(self) -> bool:
        assert all(process.poll() is None for process in self._processes), self.log()
        try:
            self._fetch(self.directory)
        except OSError:
            return False
        return True

    def _fetch(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=5, context=self._trust) as answer:
            return bytes(answer.read())

    def forget(self) -> None:
        """Start it anew: it remembers nothing, not even who signs for it."""
        old = self._processes.pop()
        old.terminate()
        old.wait()
        self._processes.append(self._start(*self._pebble))
        wait_until(self._answers, f"pebble in {self._log}")

    def root(self) -> str:
        """Return the certificate that those it issues go back to, in PEM."""
        return self._fetch(f"https://127.0.0.1:{self._management}/roots/0").decode()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def issued(self) -> int:
        return self.log().count("Issued certificate serial")

    def accounts(self) -> int:
        return len(re.findall(r"There are now \d+ accounts", self.log()))

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()


class RefusingAuthority:
    """Has a directory and nonces, and refuses every account: too many requests, come again in ``retry_after_s``.
    At ``/none`` it has nothing, and says so in HTML; at ``/nothing`` as a problem document.

    ``window``: when it wants certificates to be renewed (RFC 9773), in the words of the protocol; None = it has no
    wish. ``asked_for``: the certificates that it was asked about.
    """

    def __init__(self, folder: Path, retry_after_s: int, window: tuple[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.ca = make_own_certificate(folder)
        self.posts: list[float] = []
        self.asked_for: list[str] = []
        authority = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/none":
                    self._answer(404, "text/html", "<h1>Not Found</h1>")
                    return
                if self.path == "/nothing":
                    problem = {"type": "urn:ietf:params:acme:error:malformed", "detail": "Page not found"}
                    self._answer(404, "application/problem+json", problem)
                    return
                base = f"https://127.0.0.1:{authority.port}"
                if self.path.startswith("/renewalInfo/") and window is not None:
                    authority.asked_for.append(self.path.removeprefix("/renewalInfo/"))
                    self._answer(
                        200, "application/json", {"suggestedWindow": dict(zip(("start", "end"), window, strict=True))}
                    )
                    return
                names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
                names += () if window is None else ("renewalInfo",)
                self._answer(200, "application/json", {name: f"{base}/{name}" for name in names})

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                authority.posts.append(time.time())
                problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many new accounts"}
                self._answer(429, "application/problem+json", problem)

            def _answer(self, status: int, kind: str, tree: object) -> None:
                body = (tree if isinstance(tree, str) else json.dumps(tree)).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("replay-nonce", "bm9uY2U")
                if status == 429:
                    self.send_header("retry-after", str(retry_after_s))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, folder / "ca.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
