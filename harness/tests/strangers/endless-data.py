"""A READ is answered by its first bytes again and again, in chunks of 16 MiB."""
from honest import *


class Faulty(Session):
    def data(self, cookie, offset, data):
        if not (self.structured or self.extended):
            super().data(cookie, offset, data)
            return
        size = 16 << 20
        payload = struct.pack(">Q", offset) + bytes(size)
        while True:
            self.send(struct.pack(">IHHQI", CHUNK, 0, 1, cookie, len(payload)) + payload)  # FAULT


serve(Faulty)
