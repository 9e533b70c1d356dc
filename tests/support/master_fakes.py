"""A front and a template that only say what the contract between processes asks for, and a master that starts them.

``python master_fakes.py master CONFIG.pickle`` runs the real master with both. The front writes what it hears to
``$HEARD`` (one JSON list per line) and obeys lines that come over its first listener (``say KIND WORKER``,
``exit STATUS``, ``ignore drain``, ``mute``). The template forks workers that obey the name of the application's module:
``boots``, ``fails``, ``hangs``, ``dies``, ``lies``, ``stays``.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
from pathlib import Path

# Each part is started as a script, from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pyserve.config.model import Config
from pyserve.errors import CannotStart
from pyserve.master.main import run
from pyserve.net.channels import MessageChannel
from pyserve.wire import messages

NAMES = {value: name for name, value in vars(messages).items() if name.isupper() and isinstance(value, int)}


def master(config_path: str) -> int:
    config: Config = pickle.loads(Path(config_path).read_bytes())
    script = os.path.abspath(__file__)
    try:
        return run(
            config,
            lambda python, name, fd: [python, script, "template", str(fd)],
            lambda fd: ([sys.executable, script, "front", str(fd)], None),
        )
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 70


def _next(
    channel: MessageChannel, others: list[socket.socket]
) -> tuple[list[tuple[int, bytes, list[int]]], list[object]]:
    readable, _, _ = select.select([channel, *others], [], [channel] if channel.wants_write else [], 0.05)
    channel.flush()
    received = channel.receive() if channel in readable else []
    return received, readable


def front(fd: int) -> int:
    channel = MessageChannel.from_fd(fd)
    heard = open(os.environ["HEARD"], "a", buffering=1)  # noqa: SIM115
    listeners: list[socket.socket] = []
    number = -1
    words: list[str] = []
    if os.environ.get("FRONT_FAILS"):
        return 5
    while not channel.is_ended:
        received, readable = _next(channel, listeners)
        for kind, payload, descriptors in received:
            values = messages.values(payload)
            if kind == messages.SNAPSHOT:
                number = values[0]
                with open(descriptors[0], "rb") as file:
                    config = pickle.load(file)
                assert isinstance(config, Config)
                listeners = [socket.socket(fileno=fd) for fd in descriptors[4:]]
                channel.send(messages.pack_bytes(messages.FRONT_READY))
            elif kind == messages.WORKER_ADDED:
                channel.send(messages.pack_number(messages.WORKER_READY, values[1]))
            elif kind == messages.STATUS:
                with socket.socket(fileno=descriptors[0]) as admin:
                    if words != ["mute"]:
                        admin.sendall(json.dumps(values[0]).encode())
                        admin.shutdown(socket.SHUT_WR)
                values = ()
            heard.write(json.dumps([os.getpid(), number, NAMES[kind], *values, len(descriptors)]) + "\n")
            if kind == messages.DRAIN and words != ["ignore", "drain"]:
                return 0
        for listener in listeners:
            if listener in readable:
                connection, _ = listener.accept()
                with connection:
                    words = connection.recv(100).decode().split()
                    connection.sendall(b"done")
                if words[0] == "say":
                    channel.send(messages.pack_number(getattr(messages, words[1]), int(words[2])))
                elif words[0] == "exit":
                    return int(words[1])
    return 0


def template(fd: int) -> int:
    channel = MessageChannel.from_fd(fd)
    children: dict[int, int] = {}
    spec: dict[str, object] = {}
    while not channel.is_ended:
        received, _ = _next(channel, [])
        for kind, payload, descriptors in received:
            values = messages.values(payload)
            if kind == messages.SPEC:
                spec = values[0]
                assert os.path.samefile(os.getcwd(), str(spec["root"]))
                channel.send(messages.pack_bytes(messages.TEMPLATE_READY))
            elif kind == messages.FORK:
                assert len(descriptors) == 2 + 2 * values[2]
                pid = os.fork()
                if pid == 0:
                    channel.close()
                    os._exit(worker(str(spec["module"]), descriptors))
                for passed in descriptors:
                    os.close(passed)
                children[pid] = values[0]
                channel.send(messages.pack_forked(values[0], pid))
            elif kind == messages.SIGNAL:
                for pid, number in children.items():
                    if number == values[0]:
                        os.kill(pid, values[1])
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            channel.send(messages.pack_exited(children.pop(pid), status))
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    for pid in children:
        os.waitpid(pid, 0)
    return 0


def worker(module: str, descriptors: list[int]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if module == "stays" else signal.SIG_DFL)
    channel = MessageChannel(socket.socket(fileno=descriptors[0]))
    if module == "fails":
        channel.send(messages.pack_bytes(messages.BOOT_FAILED, b"Traceback\n  somewhere\nValueError: bad app"))
        return 3
    if module == "dies":
        return 9
    if module == "lies":
        channel.send(messages.pack_number(messages.FORKED, 1))
    elif module != "hangs":
        channel.send(messages.pack_bytes(messages.BOOTED, struct.pack("B", 1)))
    while not channel.is_ended or module == "stays":
        received, _ = _next(channel, [])
        for kind, _payload, _passed in received:
            if kind == messages.STOP:
                return 0
    return 0


if __name__ == "__main__":
    part, argument = sys.argv[1:]
    sys.exit(master(argument) if part == "master" else {"front": front, "template": template}[part](int(argument)))
