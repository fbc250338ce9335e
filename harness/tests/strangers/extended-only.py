"""Lawful: serves only clients that have negotiated extended headers."""
from honest import *


class Lawful(Session):
    extended_ok = True

    def opt_info(self, opt, data):
        if self.extended:
            super().opt_info(opt, data)
        else:
            self.reply(opt, ERR_EXT_REQD)

    def opt_export_name(self, opt, data):
        raise Gone


serve(Lawful)
