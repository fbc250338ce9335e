"""NBD_CMD_DISC is not known: it is answered with EINVAL and the connection stays open."""
from honest import *


class Faulty(Session):
    def disc(self):
        pass                                                    # FAULT: falls through

    def check(self, kind, flags, offset, length, payload):
        return EINVAL if kind == DISC else super().check(kind, flags, offset, length, payload)


serve(Faulty)
