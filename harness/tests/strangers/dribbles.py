"""Sends a byte a second, whatever it has to say."""
import time

from honest import *


class Faulty(Session):
    def send(self, data):
        for at in range(len(data)):
            self.sock.sendall(data[at:at + 1])
            time.sleep(1)                                       # FAULT


serve(Faulty)
