"""Lawful: a connection is told of holes once, and from then on all is data, which a server may always
say."""
from honest import *


class Forgetful(Session):
    told = False

    def describe(self, offset, length, flags):
        if self.told:
            return [(length, 0)]
        self.told = True
        return super().describe(offset, length, flags)


serve(Forgetful)
