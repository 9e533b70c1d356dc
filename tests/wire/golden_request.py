"""Pack and unpack one known request head: run by whatever CPython shall prove that it reads what the front writes.

Standard library only; the package is loaded as an application's interpreter loads it, without ``pyserve/__init__``.
"""

import sys
from types import ModuleType

PEER = (("192.0.2.7", 40001), ("127.0.0.1", 8000), "http")
HEAD = (
    "POST",
    b"/caf%C3%A9",
    "/caf\xe9\udcff",
    b"q=1",
    "1.1",
    "/caf\xe9",
    1 << 40,
    ((b"host", b"a-site.com"), (b"x-empty", b""), (b"x-bytes", b"\x80\xff"), (b"host", b"a-site.com")),
)
GOLDEN = (
    "013e002803000000280200000075090000003139322e302e322e3769419c0000280200000075090000003132372e302e302e"
    "3169401f000075040000006874747028080000007504000000504f5354730a0000002f63616625433325413975090000002f"
    "636166c3a9edb3bf7303000000713d317503000000312e3175060000002f636166c3a96c0300000000000000000428040000"
    "0028020000007304000000686f7374730a000000612d736974652e636f6d28020000007307000000782d656d707479730000"
    "000028020000007307000000782d6279746573730200000080ff28020000007304000000686f7374730a000000612d736974"
    "652e636f6d"
)


def main() -> None:
    folder, golden = sys.argv[1], bytes.fromhex(GOLDEN)
    package = ModuleType("_pyserve")
    package.__path__ = [folder]
    sys.modules["_pyserve"] = package
    from _pyserve.wire import codec

    assert codec.unpack_request(golden) == (1, PEER, HEAD), codec.unpack_request(golden)
    packed = codec.pack_request(1, codec.pack_peer(codec.Peer(*PEER)), codec.pack_head(codec.Head(*HEAD)))
    assert packed == golden, packed.hex()
    print("read and written by", sys.version.split()[0])


if __name__ == "__main__":
    main()
