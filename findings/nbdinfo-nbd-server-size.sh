#!/bin/sh
# nbdinfo shows every export of nbd-server 3.24 with size 0, while `nbdinfo --size` shows the true size.
#
# One would guess: both print the same size. The specification says that NBD_OPT_INFO and NBD_OPT_GO give the same information
#   (section "Option types / NBD_OPT_INFO").
# What happens: nbd-server 3.24 answers NBD_OPT_INFO with size 0 and NBD_OPT_GO with the true size. nbdinfo asks with NBD_OPT_INFO,
#   and prints `export-size: 0` and `content: empty`; `nbdinfo --size` enters the export, and prints 1048576. A script that reads the
#   size from `nbdinfo` or `nbdinfo --json` takes a working disk for an empty one.
# Seen with: nbd-server 1:3.24-1.1, libnbd-bin 1.14.2-1 (Debian 12, amd64):
#   nbdinfo: 0, nbdinfo --size: 1048576
#
# Needs: Debian 12's apt, no root. Exits with 0 if this is still so, and with 1 if it has changed.
set -eu
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

. "$(dirname "$0")/debian.inc"
unpack "$work" nbd-server=1:3.24-1.1 libnbd-bin=1.14.2-1

truncate -s 1M "$work/disk.img"
printf '[generic]\nunixsock = %s/sock\n[disk]\nexportname = %s/disk.img\n' "$work" "$work" > "$work/nbd.conf"

# In the foreground nbd-server serves one session.
ask() {
  become nbd-server -d -C "$work/nbd.conf" -p "$work/pid" > "$work/log" 2>&1 &
  server=$!
  wait_for "$work/sock"
  in_root nbdinfo "$@" "nbd+unix:///disk?socket=$work/sock" > "$work/answer"
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  server=
  rm -f "$work/sock"
}
ask
info=$(sed -n 's/^.*export-size: \([0-9]*\).*$/\1/p' "$work/answer")
ask --size
size=$(cat "$work/answer")

echo "nbdinfo: $info, nbdinfo --size: $size"
[ "$info" = 0 ] && [ "$size" = 1048576 ]
