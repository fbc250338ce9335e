"""Offers WRITE_ZEROES and hangs up at it, as servers do that gave the command another number."""
from honest import *


class Faulty(Session):
    def do(self, kind, *request):
        if kind == ZEROES:
            raise Gone                                          # FAULT
        super().do(kind, *request)


serve(Faulty)
