# SPDX-License-Identifier: LGPL-2.1-or-later
"""A TCP proxy in the middle of the link that neither end knows of: it flips bits, stalls and resets.

The connections that the host opens to the other one are redirected to it by nftables; its own bear a
mark that lets them pass. As a program it takes orders from standard input, a line each.
"""

import contextlib
import random
import selectors
import socket
import struct
import subprocess
import sys
import threading

MARK = 0x676f
SO_MARK = 36
SO_ORIGINAL_DST = 80
PIECE = 1 << 16
PYTHON = "/usr/bin/python3"


class Proxy:
    """A context manager: `with rig.Proxy(net.a, net.b) as proxy:` stands on a, between it and b, until
    the end. Connections that were open before are not in it."""

    def __init__(self, host, other):
        self.host = host
        self.process = host.popen([PYTHON, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        port = int(self.process.stdout.readline())
        addresses = ", ".join(other.addresses)
        self._nft(f"add table ip rigproxy\ndelete table ip rigproxy\ntable ip rigproxy {{ chain out {{ "
                  f"type nat hook output priority -100; meta mark != {MARK} ip daddr {{ {addresses} }} "
                  f"meta l4proto tcp redirect to :{port}; }}; }}\n")

    def _nft(self, text):
        self.host.run(["nft", "-f", "-"], input=text)

    def _order(self, text):
        """Gives an order and returns the number that answers it."""
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def flip(self, times=1):
        """Flips a bit in each of the next `times` pieces from here to there."""
        self._order(f"flip {times}")

    def flips_left(self):
        """How many of the flips that were ordered are still to come."""
        return self._order("left")

    def reset(self):
        """Resets all its connections at both ends; returns how many there were."""
        return self._order("reset")

    @contextlib.contextmanager
    def stalled(self):
        """with proxy.stalled(): nothing passes inside, and no connection ends."""
        self._order("stall")
        try:
            yield
        finally:
            self._order("go")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(subprocess.CalledProcessError):
            self._nft("delete table ip rigproxy\n")
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


class _State:
    """What the orders say; shared by all connections."""

    def __init__(self):
        self.flips = 0
        self.lock = threading.Lock()
        self.goes = threading.Event()
        self.goes.set()
        self.pairs = set()

    def spoil(self, data):
        """The piece with a bit flipped, if that was ordered."""
        with self.lock:
            if self.flips == 0 or len(data) < 256:
                return data
            self.flips -= 1
        spoiled = bytearray(data)
        spoiled[random.randrange(len(spoiled))] ^= 1 << random.randrange(8)
        return spoiled


def _abort(connection):
    """Closes by RST."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        connection.close()


def _pump(state, source, sink, spoils):
    """One direction to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(PIECE):
            state.goes.wait()
            sink.sendall(state.spoil(data) if spoils else data)
        sink.shutdown(socket.SHUT_WR)


def _carry(state, near):
    """One connection: to where it was going."""
    raw = near.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack_from("!2xH4s", raw)
    far = socket.socket()
    far.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
    try:
        far.settimeout(10)
        far.connect((socket.inet_ntoa(address), port))
        far.settimeout(None)
    except OSError:
        _abort(near)
        return
    with state.lock:
        state.pairs.add((near, far))
    back = threading.Thread(target=_pump, args=(state, far, near, False), daemon=True)
    back.start()
    _pump(state, near, far, True)
    back.join()
    with state.lock:
        state.pairs.discard((near, far))
    near.close()
    far.close()


def _reset(state):
    with state.lock:
        pairs = list(state.pairs)
    for pair in pairs:
        for connection in pair:
            _abort(connection)
    return len(pairs)


def _obey(state, line):
    """Does what a line orders; returns the number to answer."""
    words = line.split()
    if words[0] == "flip":
        with state.lock:
            state.flips += int(words[1])
    elif words[0] == "stall":
        state.goes.clear()
    elif words[0] == "go":
        state.goes.set()
    elif words[0] == "reset":
        return _reset(state)
    return state.flips


def main():
    """The program."""
    state = _State()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                near = listener.accept()[0]
                threading.Thread(target=_carry, args=(state, near), daemon=True).start()
            elif line := sys.stdin.readline():
                print(_obey(state, line), flush=True)
            else:
                return


if __name__ == "__main__":
    main()
