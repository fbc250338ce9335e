"""Extended headers agreed; READ and BLOCK_STATUS are answered with extended chunks,
everything else with a simple reply of 16 bytes."""
from honest import *


class Faulty(Session):
    extended_ok = True

    def done(self, kind, cookie, offset):
        self.send(struct.pack(">IIQ", SIMPLE, 0, cookie))       # FAULT


serve(Faulty)
