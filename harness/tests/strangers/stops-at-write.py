"""Stands still at the first write: clients can connect, and nobody is greeted any more."""
import os, signal
from honest import *


class Faulty(Session):
    def do(self, kind, *request):
        if kind == WRITE:
            os.kill(os.getpid(), signal.SIGSTOP)                # FAULT
        super().do(kind, *request)


serve(Faulty)
