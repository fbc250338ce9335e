"""Knows NBD_OPT_EXPORT_NAME alone, and leaves the option out of its replies to all others."""
from honest import *


class Faulty(Session):
    def option(self):
        magic, opt, length = struct.unpack(">8sII", self.recv(16))
        if magic != IHAVEOPT or length > PAGE:
            raise Gone
        data = self.recv(length)
        if opt == OPT_EXPORT_NAME:
            self.opt_export_name(opt, data)
        else:
            self.send(struct.pack(">QII", 0x3E889045565A9, ERR_UNSUP, 0))   # FAULT


serve(Faulty)
