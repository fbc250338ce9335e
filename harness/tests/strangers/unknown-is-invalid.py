"""Options that it does not know are answered with NBD_REP_ERR_INVALID."""
from honest import *


class Faulty(Session):
    def opt_unknown(self, opt, data):
        self.reply(opt, ERR_INVALID)                            # FAULT


serve(Faulty)
