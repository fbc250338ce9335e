#!/bin/sh
# nbdkit 1.32.5 with --oldstyle offers flush, trim and write-zeroes, and refuses each of them.
#
# One would guess: what the flags of the handshake offer is served. The specification says that a client may use a command whose
#   flag is set (section "Transmission flags").
# What happens: the oldstyle greeting has SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES and SEND_CACHE, and each request of
#   that kind is answered with EINVAL ("flush operation not supported" in nbdkit's log); reads and plain writes work. So a copy of
#   data succeeds, the same copy with a flush at its end fails, and a copy of zeroes fails, too. With newstyle all three succeed.
# Seen with: nbdkit 1.32.5-1, libnbd-bin 1.14.2-1 (Debian 12, amd64):
#   newstyle: data 0, data and flush 0, zeroes 0
#   oldstyle: data 0, data and flush 1, zeroes 1
#
# Needs: Debian 12's apt, no root. Exits with 0 if this is still so, and with 1 if it has changed.
set -eu
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

. "$(dirname "$0")/debian.inc"
unpack "$work" nbdkit=1.32.5-1 libnbd-bin=1.14.2-1

head -c 1048576 /dev/urandom > "$work/data"
truncate -s 1M "$work/zeroes"
memory=$root/usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so

# copy ARGUMENT...: its exit status
copy() {
  status=0
  in_root nbdcopy "$@" "nbd+unix:///?socket=$work/sock" > "$work/log" 2>&1 || status=$?
  echo "$status"
}

# serve STYLE: prints what becomes of three copies
serve() {
  become nbdkit -f "--$1" -U "$work/sock" "$memory" 1M > "$work/server" 2>&1 &
  server=$!
  wait_for "$work/sock"
  echo "$1: data $(copy "$work/data"), data and flush $(copy --flush "$work/data"), zeroes $(copy "$work/zeroes")"
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
  rm -f "$work/sock"
}
serve newstyle | tee "$work/seen"
serve oldstyle | tee -a "$work/seen"
printf '%s\n' 'newstyle: data 0, data and flush 0, zeroes 0' 'oldstyle: data 0, data and flush 1, zeroes 1' | cmp -s - "$work/seen"
