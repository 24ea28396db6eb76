# SPDX-License-Identifier: LGPL-2.1-or-later
"""The process that stamps ticks on arrival, and nothing else.

It is a process of its own, with real-time priority where that is allowed, because a thread of the
test would get its stamps whenever the test's other threads let go of the interpreter.

Standard input is a SEQPACKET socket of orders: "L side" with a listening socket attached (accept
everybody), or "P side path" (connect to that path, again and again). End of file ends it. Standard
output is a stream of records: HEAD, then the bytes that arrived.
"""

import array
import gc
import os
import selectors
import socket
import struct
import sys
import time

HEAD = struct.Struct("<qqHHI")  # monotonic ns, real ns, side, connection, length
RETRY_S = 0.002


class Stamper:
    """Everything that is open: the orders, the listeners, the connections, the paths to try."""

    def __init__(self, orders):
        self.selector = selectors.DefaultSelector()
        self.selector.register(orders, selectors.EVENT_READ, (self.obey, orders))
        self.paths = {}  # path: side, of those not connected
        self.connections = 0
        self.done = False

    def obey(self, orders):
        """Takes one order."""
        message, ancillary, _, _ = orders.recvmsg(4096, socket.CMSG_SPACE(4))
        if not message:
            self.done = True
            return
        kind, side, *path = message.decode().split(" ", 2)
        if kind == "L":
            handles = array.array("i", ancillary[0][2])
            listener = socket.socket(fileno=handles[0])
            self.selector.register(listener, selectors.EVENT_READ,
                                   (self.accept, listener, int(side)))
        else:
            self.paths[path[0]] = int(side)

    def accept(self, listener, side):
        """Takes one connection of a QEMU."""
        self.add(listener.accept()[0], side, None)

    def add(self, connection, side, path):
        """Reads a connection from now on."""
        self.connections += 1
        self.selector.register(connection, selectors.EVENT_READ,
                               (self.read, connection, side, self.connections, path))

    def read(self, connection, side, number, path):
        """Stamps what has arrived. The end of a connection is a record of no bytes."""
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        stamp = HEAD.pack(time.monotonic_ns(), time.time_ns(), side, number, len(data))
        rest = stamp + data
        while rest:
            rest = rest[os.write(1, rest):]
        if not data:
            self.selector.unregister(connection)
            connection.close()
            if path:
                self.paths[path] = side

    def connect(self):
        """Tries the paths that nobody listened on so far."""
        for path, side in list(self.paths.items()):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                continue
            del self.paths[path]
            self.add(connection, side, path)

    def run(self):
        """Serves until the orders end."""
        while not self.done:
            for key, _ in self.selector.select(RETRY_S if self.paths else None):
                act, *arguments = key.data
                act(*arguments)
            if self.paths:
                self.connect()


def main():
    """Takes the orders from standard input."""
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except PermissionError:
        print("stamp: no real-time priority, stamps may be late", file=sys.stderr)
    Stamper(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
