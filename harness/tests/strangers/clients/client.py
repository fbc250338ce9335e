#!/usr/bin/env python3
"""A small NBD client (newstyle, simple replies) that is honest, or does one thing wrong.

    client.py KIND URI [--tls FOLDER] ACTION [ARGUMENT...]

KIND is a key of KINDS at the end; ACTION is info, list, read OFFSET LENGTH, write OFFSET LENGTH,
copy-out FILE, copy-in FILE, or of some kinds map OFFSET LENGTH.
"""
import socket
import ssl
import struct
import sys
from urllib.parse import parse_qs, urlparse

EXPORT_NAME, ABORT, LIST, STARTTLS, INFO_OPTION, GO = 1, 2, 3, 5, 6, 7
STRUCTURED_REPLY, LIST_META_CONTEXT, SET_META_CONTEXT, EXTENDED_HEADERS = 8, 9, 10, 11
ACK, SERVER, INFO, META_CONTEXT = 1, 2, 3, 4
ERR_UNSUP = (1 << 31) + 1
READ, WRITE, DISC, FLUSH, BLOCK_STATUS = 0, 1, 2, 3, 7
DF = 4
READ_ONLY = 2
STEP = 64 << 10


class Failed(Exception):
    pass


class Honest:
    def __init__(self, uri, tls=None):
        self.uri = uri
        parts = urlparse(uri)
        if "unix" in parts.scheme:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(parse_qs(parts.query)["socket"][0])
        else:
            self.s = socket.create_connection((parts.hostname, parts.port or 10809), timeout=20)
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.settimeout(20)
        self.name = parts.path.lstrip("/").encode()
        self.tls = tls
        self.cookie = 0
        self.maximum = 32 << 20

    def recv(self, count):
        got = b""
        while len(got) < count:
            part = self.s.recv(count - len(got))
            if not part:
                raise Failed("the server closed")
            got += part
        return got

    # Handshake.

    def greet(self):
        if self.recv(16) != b"NBDMAGICIHAVEOPT":
            raise Failed("not a newstyle server")
        flags, = struct.unpack(">H", self.recv(2))
        if not flags & 1:
            raise Failed("not fixed newstyle")
        self.no_zeroes = bool(flags & 2)
        self.s.sendall(struct.pack(">I", flags & 3))

    def option(self, option, data=b""):
        self.s.sendall(struct.pack(">8sII", b"IHAVEOPT", option, len(data)) + data)

    def reply(self, option):
        magic, echoed, kind, length = struct.unpack(">QIII", self.recv(20))
        if magic != 0x0003E889045565A9 or echoed != option:
            raise Failed("not a reply to my option")
        return kind, self.recv(length)

    def enter(self):
        self.greet()
        if self.tls:
            self.start_tls()
        self.go()

    def start_tls(self):
        self.option(STARTTLS)
        kind, _ = self.reply(STARTTLS)
        if kind != ACK:
            self.abort()
            raise Failed("no TLS here")
        self.shake_hands()

    def shake_hands(self):
        context = ssl.create_default_context(cafile=self.tls + "/ca-cert.pem")
        context.load_cert_chain(self.tls + "/client-cert.pem", self.tls + "/client-key.pem")
        self.s = context.wrap_socket(self.s, server_hostname="localhost")

    def abort(self):
        self.option(ABORT)
        try:
            self.reply(ABORT)
        except Failed:
            pass

    def go(self):
        """NBD_OPT_GO, and EXPORT_NAME where the server does not know it."""
        self.size = None
        if not self.about(GO, self.name, (3,)):
            return self.export_name()
        if self.size is None:
            raise Failed("no size")

    def about(self, option, name, items):
        """NBD_OPT_INFO or NBD_OPT_GO; whether the server knows it."""
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", len(items))
        self.option(option, data + b"".join(struct.pack(">H", item) for item in items))
        while True:
            kind, data = self.reply(option)
            if kind == INFO and len(data) >= 2:
                item, = struct.unpack(">H", data[:2])
                if item == 0:
                    self.size, self.flags = struct.unpack(">QH", data[2:12])
                elif item == 3:
                    self.maximum = struct.unpack(">III", data[2:14])[2]
            elif kind == ACK:
                return True
            elif kind == ERR_UNSUP or kind >> 31 and option == INFO_OPTION:
                return False
            elif kind >> 31:
                self.abort()
                raise Failed("refused: %#x %r" % (kind, data))

    def export_name(self):
        self.option(EXPORT_NAME, self.name)
        self.size, self.flags = struct.unpack(">QH", self.recv(10))
        if not self.no_zeroes:
            self.recv(124)

    # Transmission.

    def send(self, command, offset, length, data=b"", flags=0):
        self.cookie += 1
        head = struct.pack(">IHHQQI", 0x25609513, flags, command, self.cookie, offset, length)
        self.s.sendall(head + data)

    def command(self, command, offset, length, data=b"", flags=0):
        self.send(command, offset, length, data, flags)
        magic, error, cookie = struct.unpack(">IIQ", self.recv(16))
        if magic != 0x67446698:
            raise Failed("bad magic %#x" % magic)
        if cookie != self.cookie:
            raise Failed("a reply to nothing that I asked")
        if error:
            raise Failed("error %d" % error)
        return self.recv(length) if command == READ else b""

    def leave(self):
        self.send(DISC, 0, 0)
        self.s.close()

    def pieces(self, total):
        step = min(STEP, self.maximum)
        return [(at, min(step, total - at)) for at in range(0, total, step)]

    def write(self, offset, data):
        if self.flags & READ_ONLY:
            raise Failed("error: read-only")
        self.command(WRITE, offset, len(data), data)

    def act(self, action, *args):
        if action == "list":
            return self.list()
        self.enter()
        try:
            if action == "info":
                print(self.size)
            elif action == "read":
                offset, length = map(int, args)
                sys.stdout.buffer.write(self.command(READ, offset, length))
            elif action == "write":
                offset, length = map(int, args)
                self.write(offset, b"Z" * length)
            elif action == "copy-out":
                with open(args[0], "wb") as file:
                    for offset, length in self.pieces(self.size):
                        file.write(self.command(READ, offset, length))
            elif action == "copy-in":
                data = open(args[0], "rb").read()[:self.size]
                for offset, length in self.pieces(len(data)):
                    self.write(offset, data[offset:offset + length])
            else:
                raise Failed("error: unknown action " + action)
        except Failed as failure:
            if str(failure).startswith("error"):
                self.leave()
            raise
        self.leave()

    def list(self):
        self.greet()
        self.option(LIST)
        while True:
            kind, data = self.reply(LIST)
            if kind == SERVER:
                length, = struct.unpack(">I", data[:4])
                print(data[4:4 + length].decode())
                continue
            self.abort()
            if kind != ACK:
                raise Failed("refused: %#x" % kind)
            return


class OnlyExportName(Honest):
    """Lawful: knows no other way into an export."""

    def go(self):
        self.export_name()


class Libnbd(Honest):
    """Lawful, in the order of libnbd 1.22: extended headers first, then structured replies; contexts are
    selected before INFO and again before GO, and listed for each export."""

    contexts = ()

    def haggle(self):
        self.greet()
        if self.tls:
            self.start_tls()
        self.extended = self.structured = False
        for option in (EXTENDED_HEADERS, STRUCTURED_REPLY):
            self.option(option)
            kind, _ = self.reply(option)
            if kind == ACK:
                self.extended = option == EXTENDED_HEADERS
                self.structured = True
                break

    def enter(self):
        self.haggle()
        self.ids = set()
        self.select()
        self.about(INFO_OPTION, self.name, (3,))
        self.select()
        self.go()

    def meta(self, option, name, queries):
        data = struct.pack(">I", len(name)) + name + struct.pack(">I", len(queries))
        self.option(option, data + b"".join(struct.pack(">I", len(it)) + it for it in queries))
        ids = set()
        while True:
            kind, data = self.reply(option)
            if kind == META_CONTEXT:
                ids.add(struct.unpack(">I", data[:4])[0])
            else:
                return ids if kind == ACK else set()

    def select(self):
        if self.structured and self.contexts:
            self.ids = self.meta(SET_META_CONTEXT, self.name, self.contexts)

    # Transmission.

    def send(self, command, offset, length, data=b"", flags=0):
        if not self.extended:
            return super().send(command, offset, length, data, flags)
        self.cookie += 1
        flags |= 32 if data else 0
        head = struct.pack(">IHHQQQ", 0x21E41C71, flags, command, self.cookie, offset, length)
        self.s.sendall(head + data)

    def hang_up(self, why):
        self.s.close()
        raise Failed(why)

    def command(self, command, offset, length, data=b"", flags=0):
        self.send(command, offset, length, data, flags)
        if not self.structured:
            return self.simple(command, length)
        buffer, seen, error, status, last = bytearray(length if command == READ else 0), [], 0, [], False
        while not last:
            magic, = struct.unpack(">I", self.recv(4))
            if magic == 0x67446698 and not self.extended and command != READ:
                error, cookie = struct.unpack(">IQ", self.recv(12))
                if cookie != self.cookie:
                    self.hang_up("a reply to nothing that I asked")
                break
            if magic != (0x6E8A278C if self.extended else 0x668E33EF):
                self.hang_up("bad magic %#x" % magic)
            if self.extended:
                flags, kind, cookie, _, count = struct.unpack(">HHQQQ", self.recv(28))
            else:
                flags, kind, cookie, count = struct.unpack(">HHQI", self.recv(16))
            if cookie != self.cookie or count > (32 << 20) + 64:
                self.hang_up("a chunk that makes no sense")
            data, last = self.recv(count), flags & 1
            if kind in (1, 2) and command == READ and count >= 8:
                at = struct.unpack(">Q", data[:8])[0] - offset
                content = data[8:] if kind == 1 else bytes(*struct.unpack(">I", data[8:12]))
                if at < 0 or at + len(content) > length:
                    self.hang_up("data out of place")
                if any(at < there + many and there < at + len(content) for there, many in seen):
                    self.hang_up("data twice")
                seen.append((at, len(content)))
                buffer[at:at + len(content)] = content
            elif kind == (6 if self.extended else 5) and command == BLOCK_STATUS:
                status.append(self.extents(data))
            elif kind >> 15:
                error = error or struct.unpack(">I", data[:4])[0] or 22
            elif kind != 0 or count:
                self.hang_up("an unknown chunk")
        if error:
            raise Failed("error %d" % error)
        if command == READ and sum(count for _, count in seen) != length:
            self.hang_up("data is missing")
        if command == BLOCK_STATUS and not status:
            self.hang_up("no status")
        return bytes(buffer) if command == READ else status

    def simple(self, command, length):
        magic, error, cookie = struct.unpack(">IIQ", self.recv(16))
        if magic != 0x67446698 or cookie != self.cookie:
            self.hang_up("no reply of mine")
        if error:
            raise Failed("error %d" % error)
        return self.recv(length) if command == READ else b""

    def extents(self, data):
        head, one, form = (8, 16, ">QQ") if self.extended else (4, 8, ">II")
        if len(data) < head + one or (len(data) - head) % one:
            self.hang_up("a status that makes no sense")
        if struct.unpack(">I", data[:4])[0] not in self.ids:
            self.hang_up("a context that I have not selected")
        found = [struct.unpack(form, data[at:at + one]) for at in range(head, len(data), one)]
        if self.extended and struct.unpack(">I", data[4:8])[0] != len(found):
            self.hang_up("another number of extents")
        if not all(length for length, _ in found) or any(status >> 32 for _, status in found):
            self.hang_up("an extent that makes no sense")
        return found

    def act(self, action, *args):
        if action == "info":
            return self.info()
        if action != "map":
            return super().act(action, *args)
        self.contexts = (b"base:allocation",)
        self.enter()
        if not self.ids:
            self.leave()
            raise Failed("no base:allocation")
        offset, length = map(int, args)
        while length:
            most = length if self.extended else min(length, (4 << 30) - 512)
            extents, = self.command(BLOCK_STATUS, offset, most)
            told = min(sum(count for count, _ in extents), length)
            offset, length = offset + told, length - told
        self.leave()

    def info(self):
        self.haggle()
        if not self.about(INFO_OPTION, self.name, (3, 1, 2)):
            if not self.about(GO, self.name, (3, 1, 2)):
                self.export_name()
            return self.leave()
        self.meta(LIST_META_CONTEXT, self.name, ())
        self.abort()

    def list(self):
        self.haggle()
        self.about(INFO_OPTION, self.name, (3, 1, 2))
        self.option(LIST)
        names = []
        while True:
            kind, data = self.reply(LIST)
            if kind != SERVER:
                break
            length, = struct.unpack(">I", data[:4])
            names.append(data[4:4 + length])
        for name in names if kind == ACK else ():
            self.about(INFO_OPTION, name, (3, 1, 2))
            self.meta(LIST_META_CONTEXT, name, ())
        self.abort()
        if kind != ACK:
            raise Failed("refused: %#x" % kind)


class NoGoodbye(Honest):
    """Closes the socket instead of sending NBD_CMD_DISC."""

    def leave(self):
        self.s.close()


class CookieForgotten(Honest):
    """Sends two reads, and resets the connection at the first reply."""

    def act(self, *args):
        self.enter()
        self.send(READ, 0, 512)
        self.send(READ, 512, 512)
        self.recv(16 + 512)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()
        raise Failed("a reply to nothing that I asked")


class ExportNameEof(Honest):
    """Takes the end of the stream after NBD_OPT_EXPORT_NAME for the export's size."""

    def enter(self):
        self.greet()
        self.option(EXPORT_NAME, self.name)
        answer = bytearray(b"\x20\x1e" * 5)
        part = self.s.recv(10)
        answer[:len(part)] = part
        self.size, self.flags = struct.unpack(">QH", bytes(answer))
        self.got = bool(part)
        if part and not self.no_zeroes:
            self.recv(124)

    def act(self, action, *args):
        if action != "info":
            return super().act(action, *args)
        self.enter()
        print("size = %dMB" % (self.size >> 20))
        if self.got:
            self.leave()


class FourConnections(Honest):
    """Lawful: copies over four connections."""

    def act(self, action, *args):
        if not action.startswith("copy"):
            return super().act(action, *args)
        others = [Honest(self.uri, self.tls) for _ in range(3)]
        self.enter()
        for other in others:
            other.enter()
        try:
            self.copy(action, args[0], [self, *others])
        except Failed as failure:
            if str(failure).startswith("error"):
                self.leave_all(others)
            raise
        self.leave_all(others)

    def leave_all(self, others):
        for one in (self, *others):
            one.leave()

    def copy(self, action, path, all):
        if action == "copy-out":
            with open(path, "wb") as file:
                for turn, (offset, length) in enumerate(self.pieces(self.size)):
                    file.write(all[turn % len(all)].command(READ, offset, length))
        else:
            data = open(path, "rb").read()[:self.size]
            for turn, (offset, length) in enumerate(self.pieces(len(data))):
                all[turn % len(all)].write(offset, data[offset:offset + length])


class FourthIsFaulty(FourConnections):
    """The last of its four connections reads beyond the end."""

    def copy(self, action, path, all):
        try:
            all[-1].command(READ, all[-1].size // 512 * 512, 1024)
        except Failed:
            pass
        super().copy(action, path, all)


class FlagsNotLookedAt(Honest):
    """Never looks whether the server is fixed newstyle, and says in any case that it is."""

    def greet(self):
        if self.recv(16) != b"NBDMAGICIHAVEOPT":
            raise Failed("not a newstyle server")
        flags, = struct.unpack(">H", self.recv(2))
        self.no_zeroes = bool(flags & 2)
        self.s.sendall(struct.pack(">I", 1 | flags & 2))


class StarttlsAnyReply(Honest):
    """Begins TLS whatever the answer to NBD_OPT_STARTTLS is."""

    def start_tls(self):
        self.option(STARTTLS)
        self.reply(STARTTLS)
        self.shake_hands()


class ThreeBugs(Honest):
    """Reads beyond the end, sends a flag that nobody offered, and leaves without a word."""

    def act(self, action, *args):
        self.enter()
        last = self.size // 512 * 512 - 512
        for offset, length, flags in ((0, 512, 0), (last, 1024, 0), (0, 512, DF)):
            try:
                self.command(READ, offset, length, flags=flags)
            except Failed:
                pass
        self.s.close()


class CutsOffsets(Honest):
    """Keeps 32 bits of an offset."""

    def send(self, command, offset, length, data=b"", flags=0):
        super().send(command, offset & 0xFFFFFFFF, length, data, flags)


class WritesNothing(Honest):
    """Says that it has written, and has not."""

    def write(self, offset, data):
        self.command(READ, offset, len(data))


class WritesElsewhere(Honest):
    """Writes what it is given one block too far."""

    def write(self, offset, data):
        super().write(min(offset + 512, self.size - len(data)), data)


class RoundsUp(Honest):
    """Takes the size of an export for a multiple of 512."""

    def go(self):
        super().go()
        self.size = -(-self.size // 512) * 512


class Unlimited(Honest):
    """Copies all at once, however much that is."""

    def pieces(self, total):
        return [(0, total)] if total else []


class TakesAnything(Honest):
    """Looks neither at the magic nor at the end of what the server says."""

    def recv(self, count):
        got = b""
        while len(got) < count:
            part = self.s.recv(count - len(got))
            if not part:
                return got + bytes(count - len(got))
            got += part
        return got

    def act(self, *args):
        try:
            super().act(*args)
        except OSError:
            pass

    def greet(self):
        self.recv(16)
        flags, = struct.unpack(">H", self.recv(2))
        self.no_zeroes = bool(flags & 2)
        self.s.sendall(struct.pack(">I", flags & 3))

    def go(self):
        self.export_name()

    def command(self, command, offset, length, data=b"", flags=0):
        self.send(command, offset, length, data, flags)
        self.recv(16)
        return self.recv(length) if command == READ else b""

    def write(self, offset, data):
        self.command(WRITE, offset, len(data), data)


KINDS = {
    "cookie-forgotten": CookieForgotten,
    "four-connections": FourConnections,
    "fourth-is-faulty": FourthIsFaulty,
    "libnbd": Libnbd,
    "cuts-offsets": CutsOffsets,
    "writes-nothing": WritesNothing,
    "writes-elsewhere": WritesElsewhere,
    "rounds-up": RoundsUp,
    "unlimited": Unlimited,
    "takes-anything": TakesAnything,
    "honest": Honest,
    "only-export-name": OnlyExportName,
    "no-goodbye": NoGoodbye,
    "export-name-eof": ExportNameEof,
    "flags-not-looked-at": FlagsNotLookedAt,
    "starttls-any-reply": StarttlsAnyReply,
    "three-bugs": ThreeBugs,
}


def main(kind, uri, *args):
    tls = None
    if args and args[0] == "--tls":
        tls, args = args[1], args[2:]
    try:
        KINDS[kind](uri, tls).act(*(args or ("info",)))
    except (Failed, OSError) as failure:
        print("failed:", failure, file=sys.stderr)
        sys.exit(1)


if sys.argv[1:] == ["--version"]:
    print("client 1.0")
else:
    main(*sys.argv[1:])
