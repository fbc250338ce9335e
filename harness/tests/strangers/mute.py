"""Accepts, and never says anything."""
from honest import *


class Faulty(Session):
    def run(self):
        self.recv(1 << 30)                                      # FAULT


serve(Faulty)
