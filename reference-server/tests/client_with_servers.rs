//! The reference client against real servers.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

mod common;
#[path = "../../harness/tests/needed/mod.rs"]
mod needed;

use std::path::Path;

use common::{Running, qemu_is_extended, start};
use protocol::payload::place;
use protocol::uri::Uri;
use reference_server::client::{Client, ClientError, Haggling, Options};
use tempfile::TempDir;

const SIZE: usize = 8 << 20;

fn image(folder: &TempDir) -> String {
    let path = folder.path().join("disk.raw");
    let mut bytes = vec![0; SIZE];
    place(1, 0, &mut bytes[..1 << 20]);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// Connects; a socket may be there a moment before its server listens.
async fn connect(socket: &Path, export: &str, options: &Options) -> Client {
    let uri = Uri::unix(socket).with_export(export);
    for _ in 0..200 {
        match Client::connect(&uri, options).await {
            Err(ClientError::Connect { .. }) => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            connected => return connected.unwrap(),
        }
    }
    panic!("nobody listens on {}", socket.display());
}

/// Uses all that a server offers.
async fn exercise(client: Client) {
    exercise_some(client, true).await;
}

async fn exercise_some(client: Client, optional: bool) {
    assert_eq!(client.size(), SIZE as u64);
    let mut expected = vec![0; SIZE];
    place(1, 0, &mut expected[..1 << 20]);
    assert!(client.read(0, SIZE).await.unwrap() == expected);
    let mut data = vec![0; 3 << 20];
    place(2, 4 << 20, &mut data);
    client.write(4 << 20, &data).await.unwrap();
    let reads: Vec<_> = (0..48)
        .map(|index| {
            let client = client.clone();
            tokio::spawn(async move { client.read((4 << 20) + index * 65_536, 65_536).await })
        })
        .collect();
    for (index, read) in reads.into_iter().enumerate() {
        assert_eq!(read.await.unwrap().unwrap(), data[index * 65_536..][..65_536]);
    }
    // The server may not offer each of these.
    let offered = |result| match result {
        Ok(()) => true,
        Err(ClientError::NotOffered(_)) => false,
        Err(error) => panic!("{error}"),
    };
    if optional {
        offered(client.flush().await);
        offered(client.trim(4 << 20, 65_536).await);
    }
    if optional && offered(client.zero(5 << 20, 65_536, false).await) {
        assert_eq!(client.read(5 << 20, 65_536).await.unwrap(), [0; 65_536]);
    }
    client.disconnect().await.unwrap();
}

fn forms() -> [Options; 4] {
    [
        Options::default(),
        Options::default().with(|h| h.extended_headers = false),
        Options::default().with(|h| h.structured_reply = false),
        Options::default().with(|h| {
            h.go = false;
            h.no_zeroes = false;
        }),
    ]
}

async fn qemu_nbd(folder: &TempDir, socket: &Path) -> Running {
    let (image, socket_text) = (image(folder), socket.display().to_string());
    let arguments =
        ["-f", "raw", "-k", &socket_text, "-t", "-e", "0", "-x", "disk", "-D", "text", &image];
    start("qemu-nbd", &arguments, socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn works_with_qemu_nbd() {
    if !needed::here(&["qemu-nbd"]) {
        return;
    }
    for options in forms() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let _server = qemu_nbd(&folder, &socket).await;
        exercise(connect(&socket, "disk", &options).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_what_servers_allocate() {
    if !needed::here(&["qemu-nbd", "nbdkit"]) {
        return;
    }
    const CONTEXT: &str = "base:allocation";
    let contexts = vec![CONTEXT.to_owned(), "x-none:a".to_owned()];
    let options = Options { contexts, ..Options::default() };
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("q"), folder.path().join("n"));
    let _qemu = qemu_nbd(&folder, &first).await;
    let path = second.display().to_string();
    let _nbdkit = start("nbdkit", &["-f", "-t", "1", "-U", &path, "memory", "8M"], &second).await;
    for (socket, export) in [(first, "disk"), (second, "")] {
        let client = connect(&socket, export, &options).await;
        assert_eq!(client.contexts().len(), 1);
        client.write(0, &[1; 1 << 20]).await.unwrap();
        let map = client.map(CONTEXT, 0, client.size()).await.unwrap();
        assert_eq!(map[0].status & 2, 0, "data is not zero");
        assert_eq!(map.iter().map(|extent| extent.length).sum::<u64>(), client.size());
        assert!(matches!(client.map("x-none:a", 0, 512).await, Err(ClientError::NotOffered(_))));
        client.disconnect().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_qemu_nbd_about_more_than_4_gib_at_once() {
    if !needed::here(&["qemu-nbd"]) {
        return;
    }
    const LARGE: u64 = 9 << 30;
    const CONTEXT: &str = "base:allocation";
    let options = Options { contexts: vec![CONTEXT.to_owned()], ..Options::default() };
    let folder = tempfile::tempdir().unwrap();
    let (path, socket) = (folder.path().join("large.raw"), folder.path().join("s"));
    std::fs::File::create(&path).unwrap().set_len(LARGE).unwrap();
    let (path, listens) = (path.display().to_string(), socket.display().to_string());
    let arguments = ["-f", "raw", "-k", &listens, "-t", "-e", "0", "--discard=unmap", &path];
    let _server = start("qemu-nbd", &arguments, &socket).await;
    let client = connect(&socket, "", &options).await;
    assert_eq!(client.is_extended(), qemu_is_extended());
    client.write(LARGE - 65_536, &[7; 65_536]).await.unwrap();
    let map = client.map(CONTEXT, 0, LARGE).await.unwrap();
    let lengths: Vec<u64> = map.iter().map(|extent| extent.length).collect();
    assert_eq!(lengths, [LARGE - 65_536, 65_536]);
    if client.is_extended() {
        let told = client.block_status(0, LARGE, false).await.unwrap();
        assert_eq!(told[0].1[0].length, LARGE - 65_536);
    }
    client.zero(0, LARGE, false).await.unwrap();
    assert_eq!(client.read(LARGE - 512, 512).await.unwrap(), [0; 512]);
    client.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn haggles_with_qemu_nbd() {
    if !needed::here(&["qemu-nbd"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _server = qemu_nbd(&folder, &socket).await;
    connect(&socket, "disk", &Options::default()).await.disconnect().await.unwrap();
    let uri = Uri::unix(&socket);
    let mut haggling = Haggling::connect(&uri, &Options::default()).await.unwrap();
    let listed = haggling.list().await.unwrap();
    assert_eq!((listed[0].name.as_str(), listed[0].description.as_str()), ("disk", "text"));
    let details = haggling.info("disk").await.unwrap();
    assert_eq!(details.size, SIZE as u64);
    assert_eq!(details.description.as_deref(), Some("text"));
    assert!(details.block_sizes.is_some());
    assert!(matches!(haggling.info("nothing").await, Err(ClientError::Refused { .. })));
    haggling.abort().await.unwrap();
    let refused = Client::connect(&uri.with_export("nothing"), &Options::default()).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn works_with_nbdkit() {
    if !needed::here(&["nbdkit"]) {
        return;
    }
    // With several threads nbdkit 1.42 keeps connections after NBD_CMD_DISC, hence `-t 1` here and
    // elsewhere. nbdkit 1.32.5 advertises FLUSH, TRIM and WRITE_ZEROES in its oldstyle greeting, and refuses
    // them.
    let variants: [(&[&str], bool); 3] =
        [(&[], true), (&["--no-sr", "--mask-handshake=0"], true), (&["-o"], false)];
    for (variant, optional) in variants {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let (image, socket_text) = (image(&folder), socket.display().to_string());
        let arguments =
            [&["-f", "-t", "1", "-U", &socket_text][..], variant, &["file", &image]].concat();
        let _server = start("nbdkit", &arguments, &socket).await;
        exercise_some(connect(&socket, "", &Options::default()).await, optional).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_to_the_block_sizes_of_nbdkit() {
    if !needed::here(&["nbdkit"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let (image, socket_text) = (image(&folder), socket.display().to_string());
    let arguments = [
        "-f",
        "-t",
        "1",
        "-U",
        &socket_text,
        "--filter=blocksize-policy",
        "file",
        &image,
        "blocksize-minimum=4096",
        "blocksize-preferred=65536",
        "blocksize-maximum=1M",
        "blocksize-error-policy=error",
    ];
    let _server = start("nbdkit", &arguments, &socket).await;
    let client = connect(&socket, "", &Options::default()).await;
    assert_eq!(client.details().block_sizes.unwrap().minimum(), 4096);
    assert!(matches!(client.read(512, 512).await, Err(ClientError::Misuse(_))));
    exercise(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn works_with_nbd_server() {
    if !needed::here(&["nbd-server"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let (image, conf) = (image(&folder), folder.path().join("conf"));
    let text = format!(
        "[generic]\nunixsock = {}\nallowlist = true\n[disk]\nexportname = {image}\n\
         flush = true\nfua = true\ntrim = true\n",
        socket.display()
    );
    std::fs::write(&conf, text).unwrap();
    // Without forking it serves one connection.
    let arguments = ["-d", "-C", &conf.display().to_string()];
    let _server = start("nbd-server", &arguments, &socket).await;
    exercise(connect(&socket, "disk", &Options::default()).await).await;
}
