"""A server that can stop serving everybody, without an end: for those that say when."""
from honest import *

wedged = threading.Event()


class Wedging(Session):
    def send(self, data):
        if wedged.is_set():
            threading.Event().wait()                            # FAULT
        super().send(data)
