"""The connection ends at each option but EXPORT_NAME, ABORT and LIST, as in servers that stop at what they do not know."""
from honest import *


class Faulty(Session):
    def option(self):
        magic, opt, length = struct.unpack(">8sII", self.recv(16))
        if magic != IHAVEOPT or length > 4096:
            raise Gone
        data = self.recv(length)
        if opt == OPT_EXPORT_NAME:
            self.opt_export_name(opt, data)
        elif opt == OPT_ABORT:
            self.opt_abort(opt, data)
        elif opt == OPT_LIST:
            self.opt_list(opt, data)
        else:
            raise Gone


serve(Faulty)
