"""Lawful: the disk behind the second export is broken, and says so."""
from honest import *


class Lawful(Session):
    exports = [Export("disk", 16 << 20), Export("broken", 1000001)]

    def check(self, kind, *request):
        if self.export.name == "broken" and kind in (READ, WRITE, TRIM, ZEROES, CACHE):
            return EIO
        return super().check(kind, *request)


serve(Lawful)
