"""Copy on write that puts every block which this connection wrote at the start of the answer, one over
the other: of several the last is seen, and then nothing."""
from honest import *


class Faulty(Session):
    def __init__(self, sock):
        super().__init__(sock)
        self.written = set()

    def do(self, kind, flags, cookie, offset, length, data):
        if kind == WRITE and length:
            self.written.update(range(offset // PAGE, (offset + length - 1) // PAGE + 1))
        super().do(kind, flags, cookie, offset, length, data)

    def fetch(self, offset, length):
        answer, at, end = bytearray(length), 0, offset + length
        while offset < end:
            part = min(PAGE - offset % PAGE, end - offset)
            answer[at:at + part] = self.export.read(offset, part)
            if offset // PAGE not in self.written:              # FAULT: it moves on in any case
                at += part
            offset += part
        return bytes(answer)


serve(Faulty)
