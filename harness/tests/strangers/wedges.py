"""After a TRIM nobody is served any more; connections are still accepted."""
from honest import *

wedged = threading.Event()


class Faulty(Session):
    def send(self, data):
        if wedged.is_set():
            threading.Event().wait()                            # FAULT
        super().send(data)

    def do(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM:
            wedged.set()
        super().do(kind, flags, cookie, offset, length, data)


serve(Faulty)
