"""The maximum payload that is told is the size of a block once more; 32 MiB are served."""
from honest import *


class Faulty(Session):
    block_sizes = (1, PAGE, PAGE)                               # FAULT


serve(Faulty)
