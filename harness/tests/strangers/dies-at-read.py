"""Ends at the first read that it is asked for."""
import os
from honest import *


class Faulty(Session):
    def do(self, kind, *request):
        if kind == READ:
            os._exit(3)                                         # FAULT
        super().do(kind, *request)


serve(Faulty)
