"""The same, and no block sizes are told to those who ask for them."""
import importlib

limited = importlib.import_module("serves-64-kib")


class Untold(limited.Faulty):
    block_sizes = None


limited.serve(Untold)
