"""Lawful: what a connection has written stays in a cache of its own until NBD_CMD_FLUSH or FUA, or
until it has ended, and a moment longer if it was lost.  It does not say CAN_MULTI_CONN, and has blocks of
4096 bytes.
"""
import time
from honest import *

DELAY = 0.2 if "--late" in sys.argv else 0.01


class Lawful(Session):
    block_sizes = (4096, 4096, 32 << 20)
    base_flags = Session.base_flags & ~(1 << 6) if "--no-zeroes" in sys.argv else Session.base_flags

    def __init__(self, sock):
        super().__init__(sock)
        self.kept = {}

    def run(self):
        try:
            super().run()
        finally:
            time.sleep(DELAY)
            self.flush()

    def disc(self):
        # What is on its way is carried out.
        self.flush()
        raise Gone

    def flush(self):
        while self.kept:
            page, data = self.kept.popitem()
            self.export.write(page * PAGE, data)

    def keep(self, offset, data):
        for at in range(0, len(data), PAGE):
            self.kept[(offset + at) // PAGE] = data[at:at + PAGE]

    def fetch(self, offset, length):
        data = bytearray(self.export.read(offset, length))
        for at in range(0, length, PAGE):
            data[at:at + PAGE] = self.kept.get((offset + at) // PAGE, data[at:at + PAGE])
        return bytes(data)

    def describe(self, offset, length, flags):
        return [(length, 0)]

    def do(self, kind, flags, cookie, offset, length, data):
        if kind in (READ, STATUS, CACHE):
            return super().do(kind, flags, cookie, offset, length, data)
        if kind == WRITE:
            self.keep(offset, data)
        elif kind in (TRIM, ZEROES) and length <= 4 << 20:
            self.keep(offset, bytes(length))
        elif kind in (TRIM, ZEROES):
            self.flush()
            self.export.zero(offset, length, True)
        if kind == FLUSH or flags & FUA:
            self.flush()
        self.done(kind, cookie, offset)


sys.argv = [it for it in sys.argv if it not in ("--no-zeroes", "--late")]
serve(Lawful)
