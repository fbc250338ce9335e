"""A READ is answered by chunks without content, without end."""
from honest import *


class Faulty(Session):
    def data(self, cookie, offset, data):
        if not (self.structured or self.extended):
            super().data(cookie, offset, data)
            return
        chunk = struct.pack(">IHHQI", CHUNK, 0, 0, cookie, 0)
        while True:
            self.send(chunk * 1000)                             # FAULT


serve(Faulty)
