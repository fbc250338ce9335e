"""Lawful: ends sessions by a reset, once NBD_CMD_DISC has told that nobody waits for anything."""
from honest import *


class Resets(Session):
    def disc(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone


serve(Resets)
