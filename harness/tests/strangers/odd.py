"""Lawful servers with odd habits: odd.py --socket PATH HABIT...

Each habit is one that the specification allows; they combine freely.
"""
import os, random, time
from honest import *

parser = argparse.ArgumentParser()
parser.add_argument("--socket", required=True)
parser.add_argument("habits", nargs="+")
arguments = parser.parse_args()
habits = set(arguments.habits)
# The byte that "bad-sector" can't read.
BAD = (3 << 20) + 700
ERR_BLOCK_SIZE_REQD = (1 << 31) + 8
ROTATIONAL, SEND_DF, CAN_MULTI_CONN, SEND_FAST_ZERO = 1 << 4, 1 << 7, 1 << 8, 1 << 11
KNOWN = {
    # Replies.
    "chunks-512", "chunks-4k", "reversed", "shuffled", "none-at-end", "holes", "chunks-for-all",
    "error-none-at-end", "error-texts", "leaves-after-failed-simple-read", "late", "halves", "dribble",
    # Block status.
    "status-4k", "status-long", "status-data", "status-none-at-end", "odd-ids",
    # Options.
    "extended", "no-structured", "no-contexts", "no-no-zeroes", "list-forbidden", "info-forbidden",
    "starttls-forbidden", "texts", "infos-unasked", "infos-reversed", "infos-few", "infos-unknown",
    "few-options", "several-exports", "any-name",
    # Limits and flags.
    "maximum-1m", "maximum-none", "minimum-512", "minimum-4096", "no-block-size", "odd-size", "read-only",
    "only-has-flags", "no-df", "multi-conn", "rotational", "fast-zero-never",
    # Commands.
    "trim-keeps", "trim-garbles", "trim-fails", "zeroes-fill", "cache-fails", "df-overflows",
    "einval-beyond", "length-0-fails", "one-client", "listens-again", "status-fails", "bad-sector",
    # Ends.
    "stays-after-abort",
}
unknown = habits - KNOWN
if unknown:
    parser.error("unknown habits: %s" % " ".join(sorted(unknown)))


def has(habit):
    return habit in habits


class Odd(Session):
    extended_ok = has("extended")
    structured_ok = not has("no-structured")
    meta_ok = not has("no-contexts")
    greeting_flags = 1 if has("no-no-zeroes") else 3
    options = 0

    def __init__(self, sock):
        super().__init__(sock)
        self.one = threading.Lock()
        self.late = []
        self.df = False

    # -- bytes ---------------------------------------------------------------
    def send(self, data):
        if has("dribble") and len(data) < PAGE:
            for at in range(len(data)):
                self.sock.sendall(data[at:at + 1])
        elif has("halves"):
            self.sock.sendall(data[:len(data) // 2])
            self.sock.sendall(data[len(data) // 2:])
        else:
            self.sock.sendall(data)

    # -- options -------------------------------------------------------------
    def reply(self, opt, rep, data=b""):
        if rep >> 31 and has("texts") and not data:
            data = ("unmöglich: %d" % opt).encode()
        if rep == REP_META and opt == OPT_SET_META and has("odd-ids"):
            data = struct.pack(">I", 0xfeedface) + data[4:]
        super().reply(opt, rep, data)

    def opt_abort(self, opt, data):
        self.reply(opt, REP_ACK)
        if has("stays-after-abort"):
            self.recv(1)
        raise Gone

    def option(self):
        self.options += 1
        if has("few-options") and self.options > 33:
            raise Gone
        super().option()

    def opt_unknown(self, opt, data):
        self.reply(opt, ERR_POLICY if opt == OPT_STARTTLS and has("starttls-forbidden") else ERR_UNSUP)

    def opt_list(self, opt, data):
        if has("list-forbidden"):
            self.reply(opt, ERR_POLICY)
        else:
            super().opt_list(opt, data)

    def opt_info(self, opt, data):
        if has("info-forbidden") and opt == OPT_INFO:
            self.reply(opt, ERR_POLICY)
        else:
            super().opt_info(opt, data)

    def infos(self, opt, e, wanted):
        out = super().infos(opt, e, [1, 2, 3] if has("infos-unasked") else wanted)
        if has("infos-few") and 3 not in wanted:
            out = out[:1]
        if has("infos-unknown"):
            out.append(struct.pack(">H", 0x7001) + b"hello")
        return out[::-1] if has("infos-reversed") else out

    def flags_of(self, e):
        if has("only-has-flags"):
            return 1 | (2 if e.read_only else 0)
        f = super().flags_of(e)
        f &= ~SEND_DF if has("no-df") else ~0
        f |= CAN_MULTI_CONN if has("multi-conn") else 0
        f |= ROTATIONAL if has("rotational") else 0
        return f | (SEND_FAST_ZERO if has("fast-zero-never") else 0)

    # -- requests ------------------------------------------------------------
    def check(self, kind, flags, offset, length, payload):
        past = offset + length > self.export.size
        if has("length-0-fails") and kind != FLUSH and not length:
            return EINVAL
        if has("maximum-1m") and kind in (READ, WRITE) and length > 1 << 20:
            return EOVERFLOW if kind == READ else EINVAL
        if has("bad-sector") and kind == READ and not past and offset <= BAD < offset + length:
            return EIO
        if has("fast-zero-never") and kind == ZEROES and flags & FAST_ZERO:
            return ENOTSUP
        if has("cache-fails") and kind == CACHE:
            return EINVAL
        if has("trim-fails") and kind == TRIM and not past and not flags:
            return EIO
        if has("df-overflows") and kind == READ and flags & DF and length > 65536:
            return EOVERFLOW
        if has("only-has-flags") and kind in (FLUSH, TRIM, CACHE, ZEROES):
            return EINVAL
        if has("einval-beyond") and kind in (WRITE, ZEROES) and past:
            return EINVAL
        error = super().check(kind, flags, offset, length, payload)
        return EIO if has("status-fails") and kind == STATUS and not error else error

    def do(self, kind, flags, cookie, offset, length, data):
        self.df = bool(flags & DF)
        if has("late") and kind in (READ, STATUS, CACHE):
            waiting = threading.Thread(target=self.do_later, daemon=True,
                                       args=(kind, flags, cookie, offset, length, data))
            self.late.append(waiting)
            waiting.start()
            return
        with self.one:
            self.do_now(kind, flags, cookie, offset, length, data)

    def do_later(self, *request):
        time.sleep(random.random() * 0.01)
        try:
            with self.one:
                self.do_now(*request)
        except OSError:
            pass

    def do_now(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM and has("trim-keeps"):
            self.done(kind, cookie, offset)
        elif kind == TRIM and has("trim-garbles") and length < 1 << 20:
            self.export.write(offset, os.urandom(length))
            self.done(kind, cookie, offset)
        else:
            flags |= NO_HOLE if kind == ZEROES and has("zeroes-fill") else 0
            super().do(kind, flags, cookie, offset, length, data)

    def error(self, kind, cookie, offset, err):
        with self.one:
            self.fail(kind, cookie, offset, err)

    def fail(self, kind, cookie, offset, err):
        if not (self.structured or self.extended):
            super().error(kind, cookie, offset, err)
            if kind == READ and has("leaves-after-failed-simple-read"):
                raise Gone
            return
        text = b"it was not to be" if has("error-texts") else b""
        body = struct.pack(">IH", err, len(text)) + text
        self.chunk(cookie, offset, 0x8001, body, not has("error-none-at-end"))
        if has("error-none-at-end"):
            self.chunk(cookie, offset, 0, b"")

    def disc(self):
        for waiting in self.late:
            waiting.join()
        raise Gone

    # -- replies -------------------------------------------------------------
    def data(self, cookie, offset, data):
        step = 512 if has("chunks-512") else PAGE if has("chunks-4k") else 0
        if not (self.structured or self.extended) or not data:
            return super().data(cookie, offset, data)
        cuts = []
        if step and not (self.df or has("late") or len(data) > 1 << 20):
            # At multiples of the step, seen from the start of the export.
            cuts = list(range(step - offset % step, len(data), step))
        pieces = [(offset + a, data[a:b]) for a, b in zip([0] + cuts, cuts + [len(data)])]
        if has("reversed"):
            pieces.reverse()
        if has("shuffled"):
            random.shuffle(pieces)
        for index, (at, piece) in enumerate(pieces):
            done = index == len(pieces) - 1 and not has("none-at-end")
            if has("holes") and not piece.strip(b"\0"):
                self.chunk(cookie, offset, 2, struct.pack(">QI", at, len(piece)), done)
            else:
                self.chunk(cookie, offset, 1, struct.pack(">Q", at) + piece, done)
        if has("none-at-end"):
            self.chunk(cookie, offset, 0, b"")

    def describe(self, offset, length, flags):
        extents = super().describe(offset, length, flags)
        if has("status-data"):
            extents = [(sum(n for n, _ in extents), 0)]
        if has("status-4k"):
            extents = [(min(extents[0][0], PAGE), extents[0][1])]
        after = offset + sum(n for n, _ in extents)
        if has("status-long") and not flags & REQ_ONE and after < self.export.size:
            n, status = extents[-1]
            more, same = self.export.extents(after, self.export.size - after)[0]
            if status == same:
                extents[-1] = (n + more, status)
        return extents

    def status(self, cookie, offset, extents):
        body = struct.pack(">I", 0xfeedface if has("odd-ids") else 1)
        form = ">QQ" if self.extended else ">II"
        body += struct.pack(">I", len(extents)) if self.extended else b""
        body += b"".join(struct.pack(form, *extent) for extent in extents)
        self.chunk(cookie, offset, 6 if self.extended else 5, body, not has("status-none-at-end"))
        if has("status-none-at-end"):
            self.chunk(cookie, offset, 0, b"")

    def find(self, name):
        return super().find(name) or (self.exports[0] if has("any-name") else None)

    def done(self, kind, cookie, offset):
        if has("chunks-for-all") and self.structured:
            self.chunk(cookie, offset, 0, b"")
        else:
            super().done(kind, cookie, offset)


for habit, sizes in {"maximum-1m": (1, 4096, 1 << 20), "maximum-none": (1, 4096, 0xffffffff),
                     "minimum-512": (512, 4096, 32 << 20), "minimum-4096": (4096, 65536, 32 << 20),
                     "no-block-size": None}.items():
    if has(habit):
        Odd.block_sizes = sizes
Odd.exports = [Export("disk", 1000001 if has("odd-size") else 16 << 20, has("read-only"), "a disk")]
if has("several-exports"):
    Odd.exports += [Export("zwei ü", 1 << 20), Export("x" * 200, 1000001, True)]


def listen():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(arguments.socket)
    listener.listen(64)
    return listener


listener = listen()
while True:
    client, _ = listener.accept()
    if has("listens-again"):
        # As a program in a loop of a shell does.
        listener.close()
        os.unlink(arguments.socket)
        one(Odd, client)
        listener = listen()
    elif has("one-client"):
        one(Odd, client)
    else:
        threading.Thread(target=one, args=(Odd, client), daemon=True).start()
