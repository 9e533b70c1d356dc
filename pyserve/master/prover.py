"""A child of the master's that reads certificates and keys, proves them, and hands them over in sealed memory.

I/O: reads files with the rights of who started pyserve, writes nothing; one channel to the master. So the master itself
never parses what others wrote (D18). Lives for one list, and logs nothing: what is wrong goes to the master.
"""

from __future__ import annotations

import json
import select
import sys

from pyserve.config.model import Tls
from pyserve.net.certificate import Unfit, not_for, prove
from pyserve.net.channels import MessageChannel, read_only
from pyserve.net.prctl import hide_memory
from pyserve.wire import messages


def answer(payload: bytes, channel: MessageChannel) -> None:
    """Prove one list of sites; what is good comes in one file."""
    (wanted,) = messages.values(payload)
    pieces: list[bytes] = []
    offset = 0
    for site, values, hosts in wanted:
        tls = Tls(*values)
        try:
            proved = prove(tls, hosts)
        except Unfit as error:
            channel.send(messages.pack_number_text(messages.UNPROVED, site, str(error)))
            continue
        except Exception as error:
            # Whatever a file made the parser do must not keep the other sites from being served.
            channel.send(
                messages.pack_number_text(messages.UNPROVED, site, f"{tls.cert}: {type(error).__name__}: {error}")
            )
            continue
        if words := not_for(proved.names, hosts):
            channel.send(messages.pack_number_text(messages.NOT_FOR, site, words))
        lengths = [len(piece) for piece in proved.material]
        facts = json.dumps({"names": proved.names[:100], "issuer": proved.issuer})
        numbers = (site, offset, *lengths, proved.not_before_s, proved.not_after_s)
        channel.send(messages.pack_proved(numbers, facts))
        pieces += proved.material
        offset += sum(lengths)
    fd = read_only(b"".join(pieces))
    channel.send(messages.pack_bytes(messages.PROVED_FILE, descriptors=1), [fd])


def main(argv: list[str]) -> int:
    """``python -m pyserve.master.prover FD``: FD is this end of the master's channel; over when that is closed."""
    hide_memory()
    channel = MessageChannel.from_fd(int(argv[1]))
    while not channel.is_ended:
        select.select([channel], [channel] if channel.wants_write else [], [])
        channel.flush()
        for _kind, payload, _descriptors in channel.receive():
            answer(payload, channel)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
