"""The option in replies is in the byte order of a little-endian machine."""
from honest import *


class Faulty(Session):
    def reply(self, opt, rep, data=b""):
        swapped = struct.unpack("<I", struct.pack(">I", opt))[0]  # FAULT
        super().reply(swapped, rep, data)


serve(Faulty)
