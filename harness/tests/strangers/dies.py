"""Dies, as a process, of a TRIM."""
import os
from honest import *


class Faulty(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM:
            os._exit(1)                                         # FAULT
        super().do(kind, flags, cookie, offset, length, data)


serve(Faulty)
