"""NBD_CMD_DISC is ignored: the connection stays open until the client closes."""
from honest import *


class Faulty(Session):
    def disc(self):
        while self.sock.recv(1 << 16):                          # FAULT: waits for the client
            pass
        raise Gone


serve(Faulty)
