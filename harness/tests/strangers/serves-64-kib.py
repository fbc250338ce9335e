"""Reads and writes of more than 64 KiB are refused; it tells a maximum of 32 MiB, as many do by habit."""
from honest import *


class Faulty(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind in (READ, WRITE) and length > 1 << 16:
            return EINVAL
        return super().check(kind, flags, offset, length, payload)


if __name__ == "__main__":
    serve(Faulty)
