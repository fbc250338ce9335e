"""An export that does not exist is refused by a close, as it must be; nobody is served any more after that."""
from wedging import *


class Faulty(Wedging):
    def opt_export_name(self, opt, data):
        try:
            super().opt_export_name(opt, data)
        except Gone:
            wedged.set()
            raise


serve(Faulty)
