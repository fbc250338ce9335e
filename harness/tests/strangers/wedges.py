"""After a TRIM nobody is served any more; connections are still accepted."""
from wedging import *


class Faulty(Wedging):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM:
            wedged.set()
        super().do(kind, flags, cookie, offset, length, data)


serve(Faulty)
