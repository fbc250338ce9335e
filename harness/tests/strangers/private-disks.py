"""Lawful, if of little use: each connection has a disk of its own, whatever the export is called."""
from honest import *


class Lawful(Session):
    def enter(self, e):
        super().enter(e)
        self.export = Export(e.name, e.size)


serve(Lawful)
