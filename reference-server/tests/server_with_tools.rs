//! Real clients against the reference server.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

mod common;
#[path = "../../harness/tests/needed/mod.rs"]
mod needed;

use std::path::Path;

use common::{qemu_is_extended, run};
use protocol::payload::place;
use reference_server::store::{FileStore, MemoryStore, Store as _};
use reference_server::{
    Builder, DirtyBitmap, Event, Export, Features, Handshake, Replies, Server, ServerHandle,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

const SIZE: usize = 16 << 20;

/// A server on a Unix socket, with a folder for the tools' files.
struct Served {
    handle: ServerHandle,
    folder: TempDir,
}

impl Served {
    async fn new(builder: Builder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let tcp = ([127, 0, 0, 1], 0).into();
        let handle = builder.unix(socket).tcp(tcp).start().await.unwrap();
        Self { handle, folder }
    }

    fn uri(&self, export: &str) -> String {
        // The Unix socket comes after TCP.
        self.handle.uris(export)[1].to_string()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn memory() -> Builder {
    Server::builder().export(Export::new("", MemoryStore::new(SIZE as u64)))
}

fn pattern() -> Builder {
    Server::builder().export(Export::new("disk", MemoryStore::pattern(SIZE as u64, 3)))
}

/// The bytes of the pattern with a hole.
fn sample(path: &str) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    place(9, 0, &mut bytes[..1 << 20]);
    place(9, 8 << 20, &mut bytes[8 << 20..(8 << 20) + 65_536]);
    std::fs::write(path, &bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_reads_the_whole_export() {
    if !needed::here(&["qemu-img"]) {
        return;
    }
    let served = Served::new(pattern()).await;
    let info = run("qemu-img", &["info", "--output=json", &served.uri("disk")]).await;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], SIZE);
    let out = served.path("out");
    run("qemu-img", &["convert", "-O", "raw", &served.uri("disk"), &out]).await;
    let mut expected = vec![0; SIZE];
    place(3, 0, &mut expected);
    assert!(std::fs::read(&out).unwrap() == expected);
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &served.uri("disk"), &out]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_writes_the_whole_export() {
    if !needed::here(&["qemu-img"]) {
        return;
    }
    let served = Served::new(memory()).await;
    let input = served.path("in");
    sample(&input);
    let uri = served.uri("");
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &input, &uri]).await;
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &input, &uri]).await;
}

const QEMU_IO: &[&str] = &[
    "write -P 0x11 0 1M",
    "write -P 0x22 -f 1M 64k",
    "read -P 0x11 0 1M",
    "read -P 0x22 1M 64k",
    "discard 64k 64k",
    "write -z 128k 64k",
    "write -z -u 192k 64k",
    "read -P 0 128k 128k",
    "read -P 0x11 256k 64k",
    "aio_write -P 0x33 2M 1M",
    "aio_write -P 0x44 3M 1M",
    "aio_flush",
    "read -P 0x33 2M 1M",
    "read -P 0x44 3M 1M",
    "flush",
];

async fn qemu_io(uri: &str) -> String {
    let mut arguments = vec!["-f", "raw"];
    arguments.extend(QEMU_IO.iter().flat_map(|command| ["-c", command]));
    arguments.push(uri);
    let said = run("qemu-io", &arguments).await;
    assert!(!said.contains("failed"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_io_writes_reads_discards_and_zeroes() {
    if !needed::here(&["qemu-io"]) {
        return;
    }
    for handshake in [Handshake::FixedNewstyle, Handshake::Newstyle, Handshake::Oldstyle] {
        for structured_reply in [true, false] {
            let features = Features { handshake, structured_reply, ..Features::default() };
            let served = Served::new(memory().features(features)).await;
            qemu_io(&served.uri("")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_io_works_on_a_sparse_file() {
    if !needed::here(&["qemu-io"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(SIZE as u64).unwrap();
    let export = Export::new("", FileStore::open(&path, false).unwrap());
    let served = Served::new(Server::builder().export(export)).await;
    qemu_io(&served.uri("")).await;
    assert_eq!(std::fs::read(&path).unwrap()[1 << 20], 0x22);
    assert!(allocated(&path) < 6 << 20, "holes stay holes");
}

fn allocated(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_sees_what_is_offered() {
    if !needed::here(&["nbdinfo"]) {
        return;
    }
    let builder = pattern().export(
        Export::new("ro", MemoryStore::new(1 << 20))
            .with_description("for reading")
            .with_rotational(true)
            .with_multi_conn(false)
            .with_read_only(true),
    );
    let served = Served::new(builder).await;
    let told = run("nbdinfo", &["--json", "--list", &served.uri("")]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["protocol"], "newstyle-fixed");
    assert_eq!(told["structured"], true);
    let [disk, ro] = &told["exports"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(disk["export-name"], "disk");
    assert_eq!(disk["export-size"], SIZE);
    for feature in ["can_df", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"] {
        assert_eq!(disk[feature], true, "{feature}");
    }
    assert_eq!(disk["block_size_maximum"], 32 << 20);
    assert_eq!(ro["description"], "for reading");
    for (feature, on) in [
        ("is_read_only", true),
        ("is_rotational", true),
        ("can_multi_conn", false),
        ("can_trim", false),
    ] {
        assert_eq!(ro[feature], on, "{feature}");
    }
    let tcp = served.handle.uris("ro")[0].to_string();
    assert_eq!(run("nbdinfo", &["--size", &tcp]).await.trim(), "1048576");
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdcopy_uses_several_connections_both_ways() {
    if !needed::here(&["nbdcopy"]) {
        return;
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    let observed = memory().observer(move |event| drop(sender.send(event)));
    let served = Served::new(observed).await;
    let (input, out) = (served.path("in"), served.path("out"));
    let bytes = sample(&input);
    let uri = served.uri("");
    let several = ["--connections=4", "--threads=4", "--request-size=65536"];
    run("nbdcopy", &[&several[..], &[&input, &uri]].concat()).await;
    run("nbdcopy", &[&several[..], &[&uri, &out]].concat()).await;
    assert!(std::fs::read(&out).unwrap() == bytes);
    let mut connections = 0;
    while let Ok(event) = events.try_recv() {
        connections += usize::from(matches!(event, Event::Opened { .. }));
    }
    assert!(connections > 2, "{connections} connections for two copies");
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_finds_its_blocks_again() {
    if !needed::here(&["fio"]) {
        return;
    }
    let served = Served::new(memory()).await;
    let uri = format!("--uri={}", served.uri(""));
    let arguments = [
        "--name=verify",
        "--ioengine=nbd",
        &uri,
        "--rw=randrw",
        "--bs=4k",
        "--size=2m",
        "--iodepth=32",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--trim_percentage=10",
    ];
    let said = run("fio", &arguments).await;
    assert!(said.contains("err= 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nbd_client_lists_the_exports() {
    if !needed::here(&["nbd-client"]) {
        return;
    }
    let named = pattern().export(Export::new("other", MemoryStore::new(1)));
    let served = Served::new(named).await;
    let port = served.handle.tcp_address().unwrap().port().to_string();
    let said = run("nbd-client", &["-l", "127.0.0.1", "-p", &port]).await;
    assert!(said.contains("disk") && said.contains("other"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdsh_uses_requests_of_all_kinds() {
    if !needed::here(&["nbdsh"]) {
        return;
    }
    let served = Served::new(memory()).await;
    let script = "\
h.pwrite(b'a' * 8192, 4096, nbd.CMD_FLAG_FUA)
seen = []
def chunk(data, offset, status, error): seen.append((offset, len(data), status))
h.pread_structured(32768, 0, chunk)
assert [s[:2] for s in seen] == [(0, 4096), (4096, 8192), (12288, 20480)], seen
assert [s[2] for s in seen] == [nbd.READ_HOLE, nbd.READ_DATA, nbd.READ_HOLE], seen
seen = []
h.pread_structured(32768, 0, chunk, nbd.CMD_FLAG_DF)
assert seen == [(0, 32768, nbd.READ_DATA)], seen
assert h.pread(8192, 4096) == b'a' * 8192
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE)
h.trim(4096, 8192)
h.flush()
h.set_strict_mode(0)
try: h.pread(512, h.get_size())
except nbd.Error as e: assert e.errno == 'EINVAL', e
else: assert False
try: h.pwrite(b'a' * 512, h.get_size())
except nbd.Error as e: assert e.errno == 'ENOSPC', e
else: assert False
h.shutdown()
";
    run("nbdsh", &["-u", &served.uri(""), "-c", script]).await;
}

/// A memory export with data at 64 KiB and a dirty bitmap that starts with it.
fn holey() -> Export {
    let store = MemoryStore::new(1 << 20);
    store.write(65_536, &[7; 65_536]).unwrap();
    let bitmap = DirtyBitmap::new("b0", 65_536).unwrap();
    bitmap.mark(65_536, 65_536);
    Export::new("disk", store)
        .with_bitmap(bitmap)
        .with_bitmap(DirtyBitmap::new("clean", 4096).unwrap())
}

/// The extents that nbdinfo shows: offset, size, type.
async fn map(served: &Served, context: &str) -> Vec<(u64, u64, u64)> {
    let option = format!("--map={context}");
    let told = run("nbdinfo", &["--json", &option, &served.uri("disk")]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let extent = |extent: &serde_json::Value| {
        (number(&extent["offset"]), number(&extent["length"]), number(&extent["type"]))
    };
    told.as_array().unwrap().iter().map(extent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_maps_every_context() {
    if !needed::here(&["nbdinfo"]) {
        return;
    }
    let served = Served::new(Server::builder().export(holey())).await;
    let rest = (1 << 20) - 131_072;
    let expected = [(0, 65_536, 3), (65_536, 65_536, 0), (131_072, rest, 3)];
    assert_eq!(map(&served, "base:allocation").await, expected);
    let expected = [(0, 65_536, 0), (65_536, 65_536, 1), (131_072, rest, 0)];
    assert_eq!(map(&served, "qemu:dirty-bitmap:b0").await, expected);
    assert_eq!(map(&served, "qemu:allocation-depth").await, expected);
    assert_eq!(map(&served, "qemu:dirty-bitmap:clean").await, [(0, 1 << 20, 0)]);
    let told = run("nbdinfo", &["--json", &served.uri("disk")]).await;
    // It also looks at the content, and complains behind the JSON where it can't.
    let mut values = serde_json::Deserializer::from_str(&told).into_iter::<serde_json::Value>();
    let told = values.next().unwrap().unwrap();
    let contexts = told["exports"][0]["contexts"].as_array().unwrap();
    assert_eq!(contexts.len(), 4, "{contexts:?}");
    for feature in ["can_cache", "can_fast_zero", "can_df"] {
        assert_eq!(told["exports"][0][feature], true, "{feature}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_sees_the_layers() {
    if !needed::here(&["nbdinfo"]) {
        return;
    }
    let behind = MemoryStore::new(1 << 20);
    behind.write(0, &[5; 65_536]).unwrap();
    let store = MemoryStore::over(1 << 20, std::sync::Arc::new(behind));
    store.write(131_072, &[6; 65_536]).unwrap();
    let served = Served::new(Server::builder().export(Export::new("disk", store))).await;
    let rest = (1 << 20) - 196_608;
    let expected = [(0, 65_536, 2), (65_536, 65_536, 0), (131_072, 65_536, 1), (196_608, rest, 0)];
    assert_eq!(map(&served, "qemu:allocation-depth").await, expected);
}

/// What qemu-img maps: start, length, zero, data.
async fn qemu_map(arguments: &[&str]) -> Vec<(u64, u64, bool, bool)> {
    let told = run("qemu-img", &[&["map", "--output=json"][..], arguments].concat()).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let extent = |extent: &serde_json::Value| {
        (
            extent["start"].as_u64().unwrap(),
            extent["length"].as_u64().unwrap(),
            extent["zero"].as_bool().unwrap(),
            extent["data"].as_bool().unwrap(),
        )
    };
    told.as_array().unwrap().iter().map(extent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_maps_with_extended_headers_and_without() {
    if !needed::here(&["qemu-img"]) {
        return;
    }
    for extended_headers in [true, false] {
        let (sender, mut events) = mpsc::unbounded_channel();
        let features = Features { extended_headers, ..Features::default() };
        let builder = Server::builder().export(holey()).features(features);
        let served = Served::new(builder.observer(move |event| drop(sender.send(event)))).await;
        let rest = (1 << 20) - 131_072;
        let expected =
            [(0, 65_536, true, false), (65_536, 65_536, false, true), (131_072, rest, true, false)];
        assert_eq!(qemu_map(&["-f", "raw", &served.uri("disk")]).await, expected);
        // A dirty bitmap as qemu shows it: what is dirty is "no data".
        let socket = served.path("s");
        let image = format!(
            "driver=nbd,server.type=unix,server.path={socket},export=disk,\
             x-dirty-bitmap=qemu:dirty-bitmap:b0"
        );
        let dirty = qemu_map(&["--image-opts", &image]).await;
        let dirty: Vec<_> = dirty.iter().map(|extent| (extent.0, extent.1, extent.3)).collect();
        let expected = [(0, 65_536, true), (65_536, 65_536, false), (131_072, rest, true)];
        assert_eq!(dirty, expected);
        // qemu has extended headers from 8.2 on.
        let extended = extended_headers && qemu_is_extended();
        let wanted = if extended { Replies::Extended } else { Replies::Structured };
        let mut entered = 0;
        while let Ok(event) = events.try_recv() {
            if let Event::Entered { replies, .. } = event {
                assert_eq!(replies, wanted);
                entered += 1;
            }
        }
        assert_eq!(entered, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_copies_sparse_exports_both_ways_in_every_form() {
    if !needed::here(&["qemu-img"]) {
        return;
    }
    for (structured_reply, extended_headers) in [(false, false), (true, false), (true, true)] {
        let features = Features { structured_reply, extended_headers, ..Features::default() };
        let served = Served::new(memory().features(features)).await;
        let (input, out, uri) = (served.path("in"), served.path("out"), served.uri(""));
        let bytes = sample(&input);
        run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &input, &uri]).await;
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &input, &uri]).await;
        run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &out]).await;
        assert!(std::fs::read(&out).unwrap() == bytes);
        qemu_io(&uri).await;
        // A fast zero: `-n` says no fall-back.
        let said = run("qemu-io", &["-f", "raw", "-c", "write -z -n 0 1M", &uri]).await;
        assert!(!said.contains("failed"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdsh_asks_for_status_caches_and_zeroes_fast() {
    if !needed::here(&["nbdsh"]) {
        return;
    }
    let large = Export::new("disk", MemoryStore::pattern(8 << 30, 1))
        .with_bitmap(DirtyBitmap::new("b0", 65_536).unwrap());
    let served = Served::new(Server::builder().export(large)).await;
    let script = format!(
        "\
h.add_meta_context('base:allocation')
h.add_meta_context('qemu:dirty-bitmap:b0')
h.add_meta_context('base:none')
h.connect_uri('{}')
assert h.can_meta_context('qemu:dirty-bitmap:b0') and not h.can_meta_context('base:none')
seen = []
def status(context, offset, entries, error): seen.append((context, offset, entries))
def ask(length, offset, flags=0):
    seen.clear()
    h.block_status(length, offset, status, flags)
    return sorted(seen)
h.zero(65536, 0)
h.trim(4096, 131072)
assert ask(262144, 0) == [
    ('base:allocation', 0, [65536, 3, 65536, 0, 4096, 3, 126976, 0]),
    ('qemu:dirty-bitmap:b0', 0, [65536, 1, 65536, 0, 65536, 1, 65536, 0])], seen
assert ask(262144, 0, nbd.CMD_FLAG_REQ_ONE) == [
    ('base:allocation', 0, [65536, 3]), ('qemu:dirty-bitmap:b0', 0, [65536, 1])], seen
h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE)
assert ask(8192, 0)[0] == ('base:allocation', 0, [4096, 2, 4096, 3]), seen
h.cache(1 << 31, 0)
h.cache(4096, h.get_size() - 4096)
h.zero(1 << 20, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
assert h.pread(1 << 20, 0) == bytes(1 << 20)
def fails(errno, call, *arguments):
    try: call(*arguments)
    except nbd.Error as e: assert e.errno == errno, e
    else: assert False, call
before = h.pread(4096, 1 << 30)
fails('ENOTSUP', h.zero, 1 << 31, 1 << 30, nbd.CMD_FLAG_FAST_ZERO)
assert h.pread(4096, 1 << 30) == before
h.set_strict_mode(0)
fails('EINVAL', h.cache, 4096, h.get_size())
fails('EINVAL', h.cache, 4096, 0, nbd.CMD_FLAG_NO_HOLE)
fails('EINVAL', h.block_status, 4096, h.get_size(), status)
fails('EINVAL', h.block_status, 0, 0, status)
h.shutdown()
",
        served.uri("disk")
    );
    run("nbdsh", &["-c", &script]).await;
}
