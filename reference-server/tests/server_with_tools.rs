//! Real clients against the reference server.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

mod common;

use std::path::Path;

use common::run;
use protocol::payload::place;
use reference_server::store::{FileStore, MemoryStore};
use reference_server::{Builder, Event, Export, Features, Handshake, Server, ServerHandle};
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
    let named = pattern().export(Export::new("other", MemoryStore::new(1)));
    let served = Served::new(named).await;
    let port = served.handle.tcp_address().unwrap().port().to_string();
    let said = run("nbd-client", &["-l", "127.0.0.1", "-p", &port]).await;
    assert!(said.contains("disk") && said.contains("other"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdsh_uses_requests_of_all_kinds() {
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
