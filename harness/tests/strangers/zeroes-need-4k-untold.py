"""The same, and no block sizes are told to those who ask for them."""
import importlib

needs = importlib.import_module("zeroes-need-4k")


class Untold(needs.Faulty):
    block_sizes = None


needs.serve(Untold)
