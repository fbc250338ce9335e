"""NBD_OPT_INFO tells a size of 0, NBD_OPT_GO of the same export the true size."""
from honest import *


class Faulty(Session):
    def infos(self, opt, e, wanted):
        out = super().infos(opt, e, wanted)
        if opt == OPT_INFO:
            out[0] = struct.pack(">HQH", 0, 0, self.flags_of(e))  # FAULT
        return out


serve(Faulty)
