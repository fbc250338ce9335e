"""Lawful, and slow: 80 ms for each request."""
import time
from honest import *


class Slow(Session):
    def do(self, *request):
        time.sleep(0.08)
        super().do(*request)


serve(Slow)
