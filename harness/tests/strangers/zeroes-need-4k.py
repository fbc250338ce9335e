"""WRITE is served wherever it begins, WRITE_ZEROES only in whole pages; a minimum of 1 is told."""
from honest import *


class Faulty(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind == ZEROES and (offset % PAGE or length % PAGE or not length):
            return EINVAL                                       # FAULT
        return super().check(kind, flags, offset, length, payload)


if __name__ == "__main__":
    serve(Faulty)
