"""NBD_OPT_LIST answered with bare names: no inner length, no NBD_REP_ACK at the end."""
from honest import *


class Faulty(Session):
    def opt_list(self, opt, data):
        for e in self.exports:
            self.reply(opt, REP_SERVER, e.name.encode())        # FAULT: no 32-bit length
        # FAULT: the list does not end

    def parse_info(self, data):
        # FAULT: the name's length is taken for one byte, the count of requests too
        if not data:
            return b"", []
        n = data[0]
        if len(data) < 2 + n:
            return None
        return data[1:1 + n], []


serve(Faulty)
