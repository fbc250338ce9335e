"""READ: the reply header that says success is sent before the range is looked at,
then as many bytes as there are: fewer than announced at the end of the export."""
from honest import *


class Faulty(Session):
    structured_ok = meta_ok = False

    def check(self, kind, flags, offset, length, payload):
        if kind == READ and length <= 32 << 20:
            return 0                                            # FAULT: no bounds
        return super().check(kind, flags, offset, length, payload)

    def fetch(self, offset, length):
        there = max(0, min(length, self.export.size - offset))
        return self.export.read(offset, there)                  # FAULT: short


serve(Faulty)
