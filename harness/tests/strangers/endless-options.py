"""LIST and the context lists have no end."""
from honest import *


class Faulty(Session):
    def opt_list(self, opt, data):
        name = b"a" * 4000
        while True:
            self.reply(opt, REP_SERVER, struct.pack(">I", len(name)) + name)  # FAULT


    def opt_meta(self, opt, data):
        while True:
            self.reply(opt, REP_META, struct.pack(">I", 1) + b"base:" + b"a" * 4000)  # FAULT


serve(Faulty)
