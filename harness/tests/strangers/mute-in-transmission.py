"""Haggles as it should, and never answers a request."""
from honest import *


class Faulty(Session):
    def request(self):
        self.recv(1 << 30)                                      # FAULT


serve(Faulty)
