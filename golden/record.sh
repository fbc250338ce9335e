#!/bin/bash
# Records the captures in recorded/, and in tls/ those whose names begin with tls: real clients with real
# servers, over loopback.
#
#   golden/record.sh [NAME]...       all of them without names; a recording is replaced
#
# Needs root (for tcpdump and a network namespace), tcpdump, qemu, nbdkit, libnbd's tools, nbd-server and
# nbd-client; for the names that begin with tls, GnuTLS's tools and editcap (Wireshark); for those that begin
# with self-, `nbdcheck` in PATH or its path in $NBDCHECK. Every
# recording runs in a network namespace of its own, so that ports are free and nothing else is captured.
# Afterwards run the tests and look at the changes of the snapshots: times, ports and cookies differ.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export PATH=/usr/bin:/usr/sbin:$PATH  # nbdsh must find the system's python
nbdcheck=${NBDCHECK:-nbdcheck}

names=(
  qemu-img-qemu-nbd nbdcopy-nbdkit nbdsh-nbdkit nbdsh-nbdkit-errors nbd-client-nbd-server nbdinfo-ipv6
  other-port
  self-qemu-img self-nbdcopy self-nbdsh self-nbd-client
  tls13-nbdcopy-nbdkit tls13-psk-nbdsh-nbdkit tls12-gcm-nbdsh-qemu-nbd tls12-chacha-nbdsh-qemu-nbd
  tls12-cbc-nbdsh-qemu-nbd tls12-cbc-mac-inside-nbdsh-qemu-nbd
)

if [ -z "${NBDCHECK_RECORDING-}" ]; then
  for name in "${@:-${names[@]}}"; do
    echo "$name"
    NBDCHECK_RECORDING=$name unshare --net "$BASH" "$0"
  done
  exit
fi

# From here on, in the namespace.
name=$NBDCHECK_RECORDING
ip link set lo up
work=$(mktemp -d)
server=
dump=
cleanup() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$dump" ] || kill "$dump" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"

# 1 MiB, sparse: a pattern at 0, another in the middle, the end of the image.
truncate -s 1M disk.img
qemu-io -f raw -c 'write -P 0x11 0 16k' -c 'write -P 0x22 512k 8k' -c 'write -P 0x33 1020k 4k' disk.img > /dev/null
cp disk.img source.img

wait_port() {  # PORT: until something listens, 5 s at most
  for _ in $(seq 100); do
    if [ -n "$(ss -Hltn "sport = :$1")" ]; then return; fi
    sleep 0.05
  done
  echo "$name: nothing listens on port $1" >&2
  cat server.log >&2
  exit 1
}

serve() {  # COMMAND...: starts a server in the foreground of its own process
  "$@" > server.log 2>&1 &
  server=$!
  wait_port "${port:-10809}"
}

listen() {  # starts the capture
  tcpdump -i lo -s 0 -B 65536 -U --immediate-mode -w "$work/out.pcap" "tcp port ${port:-10809}" 2> dump.log &
  dump=$!
  for _ in $(seq 100); do
    if grep -q 'listening on' dump.log; then return; fi
    sleep 0.05
  done
  echo "$name: tcpdump does not start" >&2
  cat dump.log >&2
  exit 1
}

client() {  # COMMAND...: runs a client; its failure is part of the recording
  timeout 20 "$@" > client.log 2>&1 || echo "  (exit $?) $*"
}

make_pki() {  # a certificate authority, a server and a client, thrown away afterwards
  mkdir pki
  printf 'cn = nbdcheck\nca\ncert_signing_key\nexpiration_days = 30\n' > ca.info
  printf 'cn = localhost\ndns_name = localhost\ntls_www_server\nencryption_key\nsigning_key\n' > server.info
  printf 'cn = client1\ntls_www_client\nencryption_key\nsigning_key\n' > client.info
  {
    certtool --generate-privkey --key-type=rsa --bits=2048 --outfile pki/ca-key.pem
    certtool --generate-self-signed --load-privkey pki/ca-key.pem --template ca.info --outfile pki/ca-cert.pem
    for who in server client; do
      certtool --generate-privkey --key-type=rsa --bits=2048 --outfile pki/$who-key.pem
      certtool --generate-certificate --load-ca-certificate pki/ca-cert.pem --load-ca-privkey pki/ca-key.pem \
        --load-privkey pki/$who-key.pem --template $who.info --outfile pki/$who-cert.pem
    done
  } > pki.log 2>&1
}

uri=nbd://127.0.0.1:10809
read_write_sh='
h.set_strict_mode(0)
h.set_export_name(name)
h.add_meta_context("base:allocation")
h.connect_tcp(host, port)
h.pread(4096, 0)
h.pwrite(b"\x5a" * 4096, 65536)
h.pread(8192, 61440)
if h.can_fua(): h.pwrite(b"\x5b" * 512, 131072, nbd.CMD_FLAG_FUA)
if h.can_flush(): h.flush()
if h.can_zero(): h.zero(4096, 65536, nbd.CMD_FLAG_NO_HOLE)
if h.can_trim(): h.trim(65536, 262144)
if h.can_cache(): h.cache(4096, 0)
if h.can_meta_context("base:allocation"):
    h.block_status(h.get_size(), 0, lambda *a: 0)
    h.block_status(h.get_size(), 0, lambda *a: 0, nbd.CMD_FLAG_REQ_ONE)
buffers = [nbd.Buffer(512) for _ in range(4)]
for n, buffer in enumerate(buffers): h.aio_pread(buffer, n * 4096)
while h.aio_in_flight() > 0: h.poll(-1)
h.shutdown()
'

case $name in
qemu-img-qemu-nbd)
  serve qemu-nbd -f raw -b 127.0.0.1 -p 10809 -x disk -t disk.img
  listen
  client qemu-img info $uri/disk
  client qemu-img convert -n -f raw -O raw source.img $uri/disk
  ;;
nbdcopy-nbdkit)  # several connections at once
  truncate -s 256K source.img
  serve nbdkit -f -i 127.0.0.1 -p 10809 memory 256K
  listen
  client nbdcopy source.img $uri
  client nbdcopy --connections=2 --requests=8 $uri null:
  ;;
nbdsh-nbdkit)
  serve nbdkit -f -i 127.0.0.1 -p 10809 memory 1M
  listen
  client nbdsh -c 'name, host, port = "", "127.0.0.1", "10809"' -c "$read_write_sh"
  ;;
nbdsh-nbdkit-errors)  # every request fails; then one past the end
  serve nbdkit -f -i 127.0.0.1 -p 10809 --filter=error memory 1M error=EIO error-rate=100%
  listen
  client nbdsh -c 'h.set_strict_mode(0)' -u $uri -c '
def fails(call):
    try: call()
    except nbd.Error: pass
fails(lambda: h.pread(512, 0))
fails(lambda: h.pwrite(bytes(512), 0))
fails(lambda: h.pread(512, 1 << 20))
h.shutdown()'
  ;;
nbd-client-nbd-server)
  cat > conf <<CONF
[generic]
listenaddr = 127.0.0.1
port = 10809
allowlist = true
[disk]
exportname = $work/disk.img
[other]
exportname = $work/source.img
readonly = true
CONF
  serve nbd-server -d -C conf
  listen
  client nbd-client -l 127.0.0.1
  ;;
nbdinfo-ipv6)
  serve nbdkit -f -i ::1 -p 10809 memory 1M
  listen
  client nbdinfo 'nbd://[::1]:10809'
  ;;
other-port)  # found by its greeting
  port=4711
  serve nbdkit -f -i 127.0.0.1 -p $port -o memory 1M
  listen
  client nbdinfo --no-content nbd://127.0.0.1:$port
  ;;
tls*)
  export SSLKEYLOGFILE=$work/keylog  # GnuTLS honours it
  case $name in
  *psk*)
    mkdir psk
    psktool -u alice -p psk/keys.psk > /dev/null 2>&1
    serve env -u SSLKEYLOGFILE nbdkit -f -i 127.0.0.1 -p 10809 --tls=require --tls-psk=psk/keys.psk memory 1M
    login="h.set_tls(nbd.TLS_REQUIRE); h.set_tls_username('alice'); h.set_tls_psk_file('psk/keys.psk')"
    ;;
  *nbdkit*)
    make_pki
    serve env -u SSLKEYLOGFILE nbdkit -f -i 127.0.0.1 -p 10809 --tls=require --tls-certificates=pki memory 64K
    ;;
  *)  # the server decides
    make_pki
    case $name in
    tls12-gcm-*) priority=+AES-256-GCM:+AEAD ;;
    tls12-chacha-*) priority=+CHACHA20-POLY1305:+AEAD ;;
    tls12-cbc-mac-inside-*) priority=+AES-128-CBC:+SHA1:%NO_ETM ;;
    tls12-cbc-*) priority=+AES-256-CBC:+SHA1 ;;
    esac
    priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:-MAC-ALL:$priority
    serve env -u SSLKEYLOGFILE qemu-nbd -f raw -b 127.0.0.1 -p 10809 -x disk -t --tls-creds tls0 \
      --object tls-creds-x509,id=tls0,endpoint=server,dir=pki,priority=$priority disk.img
    login="h.set_tls(nbd.TLS_REQUIRE); h.set_tls_certificates('pki'); h.set_tls_verify_peer(True)"
    ;;
  esac
  listen
  case $name in
  *nbdcopy*)
    truncate -s 64K source.img
    client nbdcopy source.img "nbds://localhost:10809/?tls-certificates=pki"
    client nbdcopy --connections=1 --requests=4 --request-size=16384 \
      "nbds://localhost:10809/?tls-certificates=pki" null:
    ;;
  *nbdkit) client nbdsh -c 'name, host, port = "", "localhost", "10809"' -c "$login" -c "$read_write_sh" ;;
  *) client nbdsh -c 'name, host, port = "disk", "localhost", "10809"' -c "$login" -c "$read_write_sh" ;;
  esac
  ;;
self-*)
  size=1MiB
  [ $name != self-nbdcopy ] || size=256KiB
  serve "$nbdcheck" serve --bind 127.0.0.1:10809 --export disk=mem:$size
  listen
  case $name in
  self-qemu-img)
    client qemu-img info $uri/disk
    client qemu-img convert -n -f raw -O raw source.img $uri/disk
    ;;
  self-nbdcopy)
    truncate -s 256K source.img
    client nbdcopy source.img $uri/disk
    client nbdcopy --connections=2 --requests=8 $uri/disk null:
    ;;
  self-nbdsh) client nbdsh -c 'name, host, port = "disk", "127.0.0.1", "10809"' -c "$read_write_sh" ;;
  self-nbd-client) client nbd-client -l 127.0.0.1 ;;
  *) echo "no recording is called $name" >&2; exit 2 ;;
  esac
  ;;
*)
  echo "no recording is called $name" >&2
  exit 2
  ;;
esac

sleep 0.3  # the last packets
kill -INT "$dump"
wait "$dump" || true
dump=
if ! grep -q '^0 packets dropped by kernel' dump.log; then
  echo "$name: tcpdump lost packets" >&2
  cat dump.log >&2
  exit 1
fi
case $name in
tls*)  # with its secrets inside
  editcap -F pcapng --inject-secrets "tls,$work/keylog" out.pcap "$here/tls/$name.pcapng"
  ;;
*) cp out.pcap "$here/recorded/$name.pcap" ;;
esac
