"""Greets, and never answers anything."""
from honest import *


class Faulty(Session):
    def run(self):
        self.greet()
        self.recv(1 << 30)                                      # FAULT


serve(Faulty)
