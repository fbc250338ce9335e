"""Every second connection is reset."""
import itertools
from honest import *

count = itertools.count()


class Faulty(Session):
    def run(self):
        if next(count) % 2:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Gone                                          # FAULT
        super().run()


serve(Faulty)
