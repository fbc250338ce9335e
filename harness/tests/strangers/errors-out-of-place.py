"""EOVERFLOW for what lies beyond the end, ENOTSUP for commands that nobody knows."""
from honest import *


class Faulty(Session):
    beyond = False

    def check(self, kind, flags, offset, length, payload):
        self.beyond = kind <= STATUS and offset + length > self.export.size
        return super().check(kind, flags, offset, length, payload)

    def error(self, kind, cookie, offset, err):
        if self.beyond and err in (EINVAL, ENOSPC):
            err = EOVERFLOW                                     # FAULT
        elif kind > STATUS:
            err = ENOTSUP                                       # FAULT
        super().error(kind, cookie, offset, err)


serve(Faulty)
