"""measure.py COMMAND...: runs it, and tells on standard error how much memory it had at most."""
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("peak KiB: %d" % peak, file=sys.stderr)
sys.exit(status if status >= 0 else 128 - status)
