"""Haggles as others do, and then sends a byte a second."""
import time

from honest import *


class Faulty(Session):
    def send(self, data):
        if self.export is None:
            return super().send(data)
        for at in range(len(data)):
            self.sock.sendall(data[at:at + 1])
            time.sleep(1)                                       # FAULT


serve(Faulty)
