"""Servers with one fault each: unlawful.py FAULT --port 0. `../unlawful.txt` tells which scenario
finds each, and the requirement that it names.
"""
import itertools, os
from honest import *

FAULTS = {}


def fault(cls):
    FAULTS[cls.__name__.replace("_", "-")] = cls
    return cls


def info_export(size, flags):
    return struct.pack(">HQH", 0, size, flags)


# -- Greeting ----------------------------------------------------------------

@fault
class takes_unknown_client_flags(Session):
    def greet(self):
        self.send(NBDMAGIC + IHAVEOPT + struct.pack(">H", self.greeting_flags))
        flags, = struct.unpack(">I", self.recv(4))
        self.no_zeroes, self.fixed = bool(flags & 2), bool(flags & 1)


@fault
class never_pads(Session):
    greeting_flags = 1

    def opt_export_name(self, opt, data):
        self.no_zeroes = True
        super().opt_export_name(opt, data)


@fault
class always_pads(Session):
    def opt_export_name(self, opt, data):
        self.no_zeroes = False
        super().opt_export_name(opt, data)


@fault
class pads_with_rubbish(Session):
    greeting_flags = 1

    def opt_export_name(self, opt, data):
        e = self.find(data)
        if e is None:
            raise Gone
        self.send(struct.pack(">QH", e.size, self.flags_of(e)) + b"\1" * 124)
        self.enter(e)


# -- Options and lists -------------------------------------------------------

@fault
class ignores_unknown_options(Session):
    def opt_unknown(self, opt, data):
        pass


@fault
class acknowledges_unknown_options(Session):
    def opt_unknown(self, opt, data):
        self.reply(opt, REP_ACK)


@fault
class leaves_on_unknown_options(Session):
    def opt_unknown(self, opt, data):
        raise Gone


@fault
class leaves_on_abort_without_a_word(Session):
    def opt_abort(self, opt, data):
        raise Gone


@fault
class refuses_abort(Session):
    def opt_abort(self, opt, data):
        self.reply(opt, ERR_UNSUP)


@fault
class two_final_replies(Session):
    def opt_list(self, opt, data):
        super().opt_list(opt, data)
        if not data:
            self.reply(opt, REP_ACK)


@fault
class acknowledges_with_data(Session):
    def reply(self, opt, rep, data=b""):
        super().reply(opt, rep, b"yes!" if rep == REP_ACK and not data else data)


@fault
class lists_half(Session):
    exports = [Export("disk", 16 << 20), Export("other", 1 << 20), Export("third", 1 << 20)]

    def opt_list(self, opt, data):
        if data:
            return self.reply(opt, ERR_INVALID)
        for e in self.exports:
            n = e.name.encode()
            self.reply(opt, REP_SERVER, struct.pack(">I", len(n)) + n)
        # and no end


@fault
class lists_what_is_not_there(Session):
    exports = [Export("disk", 16 << 20), Export("other", 1 << 20)]

    def find(self, name):
        return None if name == b"other" else super().find(name)


@fault
class lists_names_with_a_nul(Session):
    def opt_list(self, opt, data):
        if data:
            return self.reply(opt, ERR_INVALID)
        self.reply(opt, REP_SERVER, struct.pack(">I", 60) + b"disk\0")
        self.reply(opt, REP_ACK)


@fault
class refuses_export_name_by_a_reply(Session):
    def opt_export_name(self, opt, data):
        if self.find(data) is None:
            return self.reply(opt, ERR_UNKNOWN)
        super().opt_export_name(opt, data)


@fault
class answers_another_option(Session):
    def reply(self, opt, rep, data=b""):
        super().reply(OPT_GO if opt == OPT_INFO else opt, rep, data)


@fault
class skips_a_byte_too_few(Session):
    def option(self):
        magic, opt, length = struct.unpack(">8sII", self.recv(16))
        if magic != IHAVEOPT:
            raise Gone
        known = {OPT_EXPORT_NAME: self.opt_export_name, OPT_ABORT: self.opt_abort,
                 OPT_LIST: self.opt_list, OPT_INFO: self.opt_info, OPT_GO: self.opt_info,
                 OPT_STRUCTURED: self.opt_structured, OPT_LIST_META: self.opt_meta,
                 OPT_SET_META: self.opt_meta}
        if opt not in known:
            self.recv(max(length - 1, 0))
            return self.reply(opt, ERR_UNSUP)
        known[opt](opt, self.recv(length))


# -- Information -------------------------------------------------------------

@fault
class info_tells_another_size(Session):
    def infos(self, opt, e, wanted):
        out = super().infos(opt, e, wanted)
        if opt == OPT_INFO:
            out[0] = info_export(e.size + 512, self.flags_of(e))
        return out


@fault
class info_tells_other_flags(Session):
    def infos(self, opt, e, wanted):
        out = super().infos(opt, e, wanted)
        if opt == OPT_INFO:
            out[0] = info_export(e.size, self.flags_of(e) & ~32)
        return out


@fault
class info_tells_other_block_sizes(Session):
    def infos(self, opt, e, wanted):
        self.block_sizes = (1, 4096, 32 << 20) if opt == OPT_GO else (1, 65536, 32 << 20)
        return super().infos(opt, e, wanted)


@fault
class export_name_tells_another_size(Session):
    def opt_export_name(self, opt, data):
        e = self.find(data)
        if e is None:
            raise Gone
        self.send(struct.pack(">QH", e.size - 512, self.flags_of(e)) + (b"" if self.no_zeroes else bytes(124)))
        self.enter(e)


@fault
class tells_no_size(Session):
    def infos(self, opt, e, wanted):
        return super().infos(opt, e, wanted)[1:]


@fault
class minimum_of_3(Session):
    block_sizes = (3, 4096, 32 << 20)


@fault
class preferred_below_minimum(Session):
    block_sizes = (4096, 512, 32 << 20)


@fault
class info_enters(Session):
    def opt_info(self, opt, data):
        super().opt_info(opt, data)
        p = self.parse_info(data)
        if opt == OPT_INFO and p and self.find(p[0]):
            self.enter(self.find(p[0]))


@fault
class tells_another_name(Session):
    def infos(self, opt, e, wanted):
        return [p + b"x" if p[:2] == b"\0\1" else p for p in super().infos(opt, e, wanted)]


@fault
class has_no_flags(Session):
    def flags_of(self, e):
        return super().flags_of(e) & ~1


@fault
class leaves_after_a_refusal(Session):
    def reply(self, opt, rep, data=b""):
        super().reply(opt, rep, data)
        if rep == ERR_UNKNOWN:
            raise Gone


# -- Contexts ----------------------------------------------------------------

@fault
class keeps_the_first_selection(Session):
    def opt_meta(self, opt, data):
        kept = self.context
        super().opt_meta(opt, data)
        self.context = self.context or kept


@fault
class lists_contexts_with_ids(Session):
    def opt_meta(self, opt, data):
        if opt == OPT_SET_META:
            super().opt_meta(opt, data)
        else:
            self.list_meta(data)

    def list_meta(self, data):
        self.reply(OPT_LIST_META, REP_META, struct.pack(">I", 7) + b"base:allocation")
        self.reply(OPT_LIST_META, REP_ACK)


@fault
class listing_selects(Session):
    def opt_meta(self, opt, data):
        super().opt_meta(opt, data)
        n, = struct.unpack(">I", data[:4])
        if opt == OPT_LIST_META and b"base:allocation" in data and self.find(data[4:4 + n]):
            self.context = (data[4:4 + n], [1])


@fault
class lists_no_context_unasked(Session):
    def opt_meta(self, opt, data):
        if opt == OPT_LIST_META and data[-4:] == bytes(4):
            return self.reply(opt, REP_ACK)
        super().opt_meta(opt, data)


@fault
class lists_what_was_not_asked(Session):
    def opt_meta(self, opt, data):
        if opt == OPT_LIST_META and (self.structured or self.extended):
            self.reply(opt, REP_META, bytes(4) + b"base:allocation")
            return self.reply(opt, REP_ACK)
        super().opt_meta(opt, data)


@fault
class selects_by_wildcard(Session):
    def opt_meta(self, opt, data):
        if opt == OPT_SET_META and data.endswith(b"base:") and self.structured:
            n, = struct.unpack(">I", data[:4])
            self.context = (data[4:4 + n], [1])
            self.reply(opt, REP_META, struct.pack(">I", 1) + b"base:allocation")
            return self.reply(opt, REP_ACK)
        super().opt_meta(opt, data)


@fault
class selects_twice(Session):
    def reply(self, opt, rep, data=b""):
        super().reply(opt, rep, data)
        if opt == OPT_SET_META and rep == REP_META:
            super().reply(opt, rep, data)


@fault
class status_without_a_context(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind == STATUS and self.structured and length and offset + length <= self.export.size:
            return 0
        return super().check(kind, flags, offset, length, payload)


# -- Reads and chunks --------------------------------------------------------

@fault
class cookies_of_32_bits(Session):
    def chunk(self, cookie, *a, **k): super().chunk(cookie & 0xffffffff, *a, **k)
    def data(self, cookie, *a): super().data(cookie & 0xffffffff, *a)
    def done(self, kind, cookie, offset): super().done(kind, cookie & 0xffffffff, offset)
    def error(self, kind, cookie, offset, err): super().error(kind, cookie & 0xffffffff, offset, err)


@fault
class simple_replies_to_small_reads(Session):
    def data(self, cookie, offset, data):
        if self.structured and len(data) == 512:
            self.send(struct.pack(">IIQ", SIMPLE, 0, cookie) + data)
        else:
            super().data(cookie, offset, data)


@fault
class never_done_with_holes(Session):
    def data(self, cookie, offset, data):
        if self.structured and data and not data.strip(b"\0"):
            self.chunk(cookie, offset, 2, struct.pack(">QI", offset, len(data)), False)
        else:
            super().data(cookie, offset, data)


@fault
class overlapping_chunks(Session):
    def data(self, cookie, offset, data):
        if self.structured and len(data) > 8192:
            self.chunk(cookie, offset, 1, struct.pack(">Q", offset) + data[:4097], False)
            self.chunk(cookie, offset, 1, struct.pack(">Q", offset + 4096) + data[4096:])
        else:
            super().data(cookie, offset, data)


@fault
class forgets_the_last_page(Session):
    def data(self, cookie, offset, data):
        if self.structured and len(data) > PAGE:
            data = data[:-PAGE]
        super().data(cookie, offset, data)


@fault
class sends_more_than_asked(Session):
    def data(self, cookie, offset, data):
        if self.structured and data:
            data += bytes(512)
        super().data(cookie, offset, data)


@fault
class cuts_in_spite_of_df(Session):
    def data(self, cookie, offset, data):
        if self.structured and len(data) > 4096:
            self.chunk(cookie, offset, 1, struct.pack(">Q", offset) + data[:4096], False)
            self.chunk(cookie, offset, 1, struct.pack(">Q", offset + 4096) + data[4096:])
        else:
            super().data(cookie, offset, data)


@fault
class error_text_beyond_its_chunk(Session):
    def error(self, kind, cookie, offset, err):
        if self.structured:
            self.chunk(cookie, offset, 0x8001, struct.pack(">IH", err, 20) + b"too short")
        else:
            super().error(kind, cookie, offset, err)


@fault
class errors_below_zero(Session):
    def error(self, kind, cookie, offset, err):
        super().error(kind, cookie, offset, -err & 0xffffffff)


@fault
class wrong_last_byte(Session):
    def fetch(self, offset, length):
        d = super().fetch(offset, length)
        if length and offset + length == self.export.size:
            d = d[:-1] + bytes([d[-1] ^ 1])
        return d


@fault
class even_offsets_only(Session):
    def fetch(self, offset, length):
        return super().fetch(offset & ~1, length)


@fault
class data_after_an_error(Session):
    def error(self, kind, cookie, offset, err):
        super().error(kind, cookie, offset, err)
        if kind == READ and not self.structured:
            self.send(bytes(512))


@fault
class answers_twice(Session):
    def done(self, kind, cookie, offset):
        super().done(kind, cookie, offset)
        if kind == FLUSH:
            super().done(kind, cookie, offset)


@fault
class unknown_chunk_flags(Session):
    def chunk(self, cookie, offset, kind, payload, done=True):
        self.send(struct.pack(">IHHQI", CHUNK, done | 2, kind, cookie, len(payload)) + payload)


@fault
class reads_beyond_the_end(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind == READ and offset < self.export.size and length < 1 << 20:
            return 0
        return super().check(kind, flags, offset, length, payload)


# -- Writes and read-only exports --------------------------------------------

@fault
class stores_half(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        super().do(kind, flags, cookie, offset, length, data[:(len(data) + 1) // 2])


@fault
class stores_32_kib(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        super().do(kind, flags, cookie, offset, length, data[:32768])


@fault
class stores_later(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == WRITE:
            threading.Timer(0.05, self.export.write, (offset, data)).start()
            self.done(kind, cookie, offset)
        else:
            super().do(kind, flags, cookie, offset, length, data)


@fault
class writes_where_read_only(Session):
    read_only = True

    def check(self, kind, flags, offset, length, payload):
        if kind == WRITE and offset + length <= self.export.size:
            return 0
        return super().check(kind, flags, offset, length, payload)


@fault
class zeroes_where_read_only(Session):
    read_only = True

    def check(self, kind, flags, offset, length, payload):
        if kind == ZEROES and offset + length <= self.export.size:
            return 0
        return super().check(kind, flags, offset, length, payload)


@fault
class trims_where_read_only(Session):
    read_only = True

    def check(self, kind, flags, offset, length, payload):
        if kind == TRIM and offset + length <= self.export.size:
            return 0
        return super().check(kind, flags, offset, length, payload)


@fault
class knows_fua_for_writes_only(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind not in (WRITE, ZEROES, TRIM) and flags & FUA:
            return EINVAL
        return super().check(kind, flags, offset, length, payload)


@fault
class writes_up_to_the_end(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind == WRITE and offset + length > self.export.size:
            return 0
        return super().check(kind, flags, offset, length, payload)

    def do(self, kind, flags, cookie, offset, length, data):
        if kind == WRITE:
            data = data[:max(self.export.size - offset, 0)]
        super().do(kind, flags, cookie, offset, length, data)


@fault
class fails_flush(Session):
    def check(self, kind, flags, offset, length, payload):
        return EINVAL if kind == FLUSH else super().check(kind, flags, offset, length, payload)


# -- Zeroes and trims --------------------------------------------------------

@fault
class zeroes_one_byte_more(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == ZEROES and length and offset + length < self.export.size:
            length += 1
        super().do(kind, flags, cookie, offset, length, data)


@fault
class zeroes_whole_pages(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == ZEROES:
            end = offset + length
            offset = -(-offset // PAGE) * PAGE
            length = max(end // PAGE * PAGE - offset, 0)
        super().do(kind, flags, cookie, offset, length, data)


@fault
class trims_whole_pages_around(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM:
            end = min(-(-(offset + length) // PAGE) * PAGE, self.export.size)
            offset = offset // PAGE * PAGE
            length = end - offset
        super().do(kind, flags, cookie, offset, length, data)


@fault
class refuses_no_hole(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind == ZEROES and flags & NO_HOLE:
            return EINVAL
        return super().check(kind, flags, offset, length, payload)


@fault
class refuses_fast_zero_as_invalid(Session):
    base_flags = Session.base_flags | 1 << 11

    def check(self, kind, flags, offset, length, payload):
        if kind == ZEROES and flags & FAST_ZERO:
            return EINVAL
        return super().check(kind, flags, offset, length, payload)


@fault
class zeroes_nothing(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        super().do(kind, flags, cookie, offset, 0 if kind == ZEROES else length, data)


@fault
class cache_forgets(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == CACHE:
            self.export.zero(offset, min(length, PAGE), True)
        super().do(kind, flags, cookie, offset, length, data)


# -- Block status ------------------------------------------------------------

@fault
class status_of_a_foreign_context(Session):
    def status(self, cookie, offset, extents):
        self.chunk(cookie, offset, 5, struct.pack(">I", 2) + struct.pack(">II", *extents[0]), False)
        super().status(cookie, offset, extents)


@fault
class status_calls_data_zero(Session):
    def describe(self, offset, length, flags):
        return [(n, 3) for n, _ in super().describe(offset, length, flags)]


@fault
class two_extents_for_one(Session):
    def describe(self, offset, length, flags):
        if flags & REQ_ONE and length > 512:
            return [(512, 0), (512, 0)]
        return super().describe(offset, length, flags)


@fault
class one_extent_beyond_the_request(Session):
    def describe(self, offset, length, flags):
        ext = super().describe(offset, length, flags)
        if flags & REQ_ONE and offset + length + 512 <= self.export.size:
            return [(length + 512, 0)]
        return ext


@fault
class empty_extents(Session):
    def describe(self, offset, length, flags):
        ext = super().describe(offset, length, flags)
        return ext if flags & REQ_ONE else [(0, 0)] + ext


@fault
class status_beyond_the_export(Session):
    def describe(self, offset, length, flags):
        ext = super().describe(offset, length, flags)
        if not flags & REQ_ONE:
            n, s = ext[-1]
            ext[-1] = (n + (1 << 30), s)
        return ext


@fault
class status_fails_simply(Session):
    def error(self, kind, cookie, offset, err):
        if kind == STATUS:
            self.send(struct.pack(">IIQ", SIMPLE, err, cookie))
        else:
            super().error(kind, cookie, offset, err)


@fault
class status_without_extents(Session):
    def describe(self, offset, length, flags):
        return []


# -- Disconnects and robustness ----------------------------------------------

@fault
class stays_after_disc(Session):
    def disc(self):
        while True:
            self.recv(1)


@fault
class answers_disc(Session):
    def request(self):
        magic, flags, kind, cookie, offset, length = struct.unpack(">IHHQQI", self.peek(28))
        if kind == DISC:
            self.recv(28)
            self.send(struct.pack(">IIQ", SIMPLE, 0, cookie))
            raise Gone
        super().request()

    def peek(self, n):
        while True:
            b = self.sock.recv(n, socket.MSG_PEEK)
            if not b:
                raise Gone
            if len(b) == n:
                return b


@fault
class drops_writes_at_disc(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == WRITE and length > 65536:
            b = self.sock.recv(28, socket.MSG_PEEK)
            if len(b) >= 8 and struct.unpack(">H", b[6:8])[0] == DISC:
                raise Gone
        super().do(kind, flags, cookie, offset, length, data)


@fault
class leaves_on_unknown_commands(Session):
    def check(self, kind, flags, offset, length, payload):
        if kind > 7:
            raise Gone
        return super().check(kind, flags, offset, length, payload)


@fault
class ignores_unknown_commands(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind <= 7:
            super().do(kind, flags, cookie, offset, length, data)

    def error(self, kind, cookie, offset, err):
        if kind <= 7:
            super().error(kind, cookie, offset, err)


CONNECTIONS = itertools.count(1)


@fault
class closes_every_third(Session):
    def greet(self):
        if next(CONNECTIONS) % 3 == 0:
            raise Gone
        super().greet()


@fault
class shares_nothing_and_says_so(Session):
    base_flags = Session.base_flags | 1 << 8

    def enter(self, e):
        super().enter(Export(e.name, e.size))


@fault
class tells_of_the_first_and_serves_it(Session):
    exports = [Export("disk", 16 << 20), Export("other", 1 << 20)]

    def enter(self, e):
        super().enter(self.exports[0])


@fault
class go_tells_of_the_first(Session):
    exports = [Export("disk", 16 << 20), Export("other", 1 << 20)]

    def infos(self, opt, e, wanted):
        return super().infos(opt, self.exports[0] if opt == OPT_GO else e, wanted)


@fault
class keeps_contexts_when_a_selection_fails(Session):
    def opt_meta(self, opt, data):
        kept = self.context
        super().opt_meta(opt, data)
        if b"no such export" in data:
            self.context = kept


@fault
class trims_later(Session):
    def do(self, kind, flags, cookie, offset, length, data):
        if kind == TRIM:
            threading.Timer(0.02, self.export.zero, (offset, length, True)).start()
            self.done(kind, cookie, offset)
        else:
            super().do(kind, flags, cookie, offset, length, data)


@fault
class zeroes_later(Session):
    """Reads are right meanwhile; a write is lost."""

    def do(self, kind, flags, cookie, offset, length, data):
        super().do(kind, flags, cookie, offset, length, data)
        if kind == ZEROES:
            threading.Timer(0.02, self.export.zero, (offset, length, True)).start()


@fault
class remembers_reads_until_a_write(Session):
    def __init__(self, sock):
        super().__init__(sock)
        self.cache = {}

    def fetch(self, offset, length):
        key = (offset, length)
        if key not in self.cache:
            self.cache[key] = super().fetch(offset, length)
        return self.cache[key]

    def do(self, kind, flags, cookie, offset, length, data):
        if kind in (WRITE, FLUSH):
            self.cache.clear()
        super().do(kind, flags, cookie, offset, length, data)


@fault
class remembers_reads_until_they_are_written_over(Session):
    def __init__(self, sock):
        super().__init__(sock)
        self.cache = {}

    def fetch(self, offset, length):
        return self.cache.setdefault((offset, length), super().fetch(offset, length))

    def do(self, kind, flags, cookie, offset, length, data):
        if kind == WRITE:
            self.cache.pop((offset, length), None)
        elif kind not in (READ, STATUS):
            self.cache.clear()
        super().do(kind, flags, cookie, offset, length, data)


if __name__ == "__main__":
    serve(FAULTS[sys.argv.pop(1)])
