"""Lawful, and of old: newstyle without the fixed flag, so that NBD_OPT_EXPORT_NAME is all there is."""
from honest import *


class Newstyle(Session):
    greeting_flags = 0

    def greet(self):
        super().greet()
        if self.fixed or self.no_zeroes:
            raise Gone                                          # neither was offered

    def option(self):
        magic, opt, length = struct.unpack(">8sII", self.recv(16))
        if magic != IHAVEOPT or opt != OPT_EXPORT_NAME or length > PAGE:
            raise Gone
        self.opt_export_name(opt, self.recv(length))


serve(Newstyle)
