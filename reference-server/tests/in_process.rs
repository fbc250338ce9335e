//! The reference client against the reference server, in one process.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

use std::time::Duration;

use protocol::values::{Command, CommandFlags, ErrorCode, ReplyType, TransmissionFlags};
use reference_server::client::{Call, Client, ClientError, Haggling, Options, Violation};
use reference_server::store::{FileStore, MemoryStore};
use reference_server::{
    BlockSizes, DirtyBitmap, Ending, Export, Fault, Features, Handshake, Limits, Server, StartError,
};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;

fn server() -> Server {
    let small = BlockSizes::new(512, 4096, 1 << 20).unwrap();
    Server::builder()
        .export(Export::new("", MemoryStore::new(16 << 20)).with_description("scratch"))
        .export(Export::new("pattern", MemoryStore::pattern(1 << 20, 5)).with_read_only(true))
        .export(
            Export::new("blocks", MemoryStore::new(4 << 20))
                .with_block_sizes(small)
                .with_block_size_required(true),
        )
        .build()
        .unwrap()
}

fn link(server: &Server) -> (DuplexStream, JoinHandle<Ending>) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = server.clone();
    (ours, tokio::spawn(async move { server.serve_stream(theirs).await }))
}

async fn enter(server: &Server, export: &str, options: &Options) -> Client {
    Client::over(link(server).0, export, options).await.unwrap()
}

fn simple() -> Options {
    Options::default().with(|h| h.structured_reply = false)
}

fn structured() -> Options {
    Options::default().with(|h| h.extended_headers = false)
}

fn failed(result: Result<Vec<u8>, ClientError>) -> ErrorCode {
    match result {
        Err(ClientError::Failed { error, .. }) => error,
        other => panic!("{other:?} is no failed request"),
    }
}

#[tokio::test]
async fn lists_and_describes_its_exports() {
    let mut haggling = Haggling::over(link(&server()).0, &Options::default()).await.unwrap();
    let listed = haggling.list().await.unwrap();
    let names: Vec<_> = listed.iter().map(|export| export.name.as_str()).collect();
    assert_eq!(names, ["", "pattern", "blocks"]);
    assert_eq!(listed[0].description, "scratch");
    let details = haggling.info("blocks").await.unwrap();
    assert_eq!(details.name.as_deref(), Some("blocks"));
    assert_eq!(details.block_sizes, Some(BlockSizes::new(512, 4096, 1 << 20).unwrap()));
    let refused = haggling.info("nothing").await.unwrap_err();
    insta::assert_snapshot!(refused, @r#"NBD_OPT_INFO: NBD_REP_ERR_UNKNOWN: "no export is named \"nothing\"""#);
    haggling.abort().await.unwrap();
}

#[tokio::test]
async fn reads_what_was_written_in_every_form_of_session() {
    let forms = [
        Options::default(),
        structured(),
        simple(),
        Options::default().with(|h| h.go = false),
        Options::default().with(|h| h.fixed_newstyle = false),
        Options::default().with(|h| {
            h.fixed_newstyle = false;
            h.no_zeroes = false;
        }),
    ];
    for options in forms {
        let server = server();
        let (stream, ending) = link(&server);
        let client = Client::over(stream, "", &options).await.unwrap();
        let chunks = options.habits.structured_reply && options.habits.fixed_newstyle;
        assert_eq!(client.is_structured(), chunks);
        assert_eq!(
            client.is_extended(),
            chunks && options.habits.extended_headers && options.habits.go
        );
        let data: Vec<u8> = (0..3 * MIB).map(|at| (at / 7) as u8).collect();
        client.write(100, &data).await.unwrap();
        client.flush().await.unwrap();
        let read = client.read(0, 4 * MIB).await.unwrap();
        assert!(read[..100].iter().all(|byte| *byte == 0));
        assert_eq!(read[100..100 + data.len()], data);
        client.trim(0, 8192).await.unwrap();
        client.zero(8192, 8192, true).await.unwrap();
        assert!(client.read(0, 16384).await.unwrap().iter().all(|byte| *byte == 0));
        client.disconnect().await.unwrap();
        assert_eq!(ending.await.unwrap(), Ending::Disconnected);
    }
}

#[tokio::test]
async fn oldstyle_begins_with_the_default_export() {
    let features = Features { handshake: Handshake::Oldstyle, ..Features::default() };
    let server = Server::builder()
        .export(Export::new("", MemoryStore::pattern(MIB as u64, 1)))
        .features(features)
        .build()
        .unwrap();
    let client = enter(&server, "", &Options::default()).await;
    assert_eq!(client.size(), MIB as u64);
    assert!(!client.details().flags.has(TransmissionFlags::SEND_DF));
    client.read(0, MIB).await.unwrap();
    client.disconnect().await.unwrap();
    let named = Client::over(link(&server).0, "x", &Options::default()).await.unwrap_err();
    assert_eq!(named, ClientError::NotOffered("exports with names: it is oldstyle"));
}

#[tokio::test]
async fn newstyle_that_is_not_fixed_knows_one_option() {
    let features = Features { handshake: Handshake::Newstyle, ..Features::default() };
    let server = Server::builder()
        .export(Export::new("disk", MemoryStore::new(4096)))
        .features(features)
        .build()
        .unwrap();
    let client = enter(&server, "disk", &Options::default()).await;
    assert_eq!(client.read(0, 4096).await.unwrap(), [0; 4096]);
    let (stream, ending) = link(&server);
    let refused = Client::over(stream, "nothing", &Options::default()).await.unwrap_err();
    assert_eq!(refused, ClientError::Closed("the answer to NBD_OPT_EXPORT_NAME"));
    assert!(matches!(ending.await.unwrap(), Ending::Refused(_)));
}

#[tokio::test]
async fn each_mistake_has_its_error() {
    let size = 16 << 20;
    use Command as C;
    use ErrorCode as E;
    for options in [Options::default(), structured(), simple()] {
        let client = enter(&server(), "", &options).await;
        let fua = CommandFlags::FUA;
        for (call, error) in [
            (Call::new(C::READ, size, 1), E::EINVAL),
            (Call::new(C::READ, u64::MAX, 2), E::EINVAL),
            (Call::new(C::READ, 0, (32 << 20) + 1), E::EINVAL),
            (Call::new(C::TRIM, size - 1, 2), E::EINVAL),
            (Call::new(C::WRITE_ZEROES, size - 1, 2), E::ENOSPC),
            (Call::write(size - 1, vec![1, 2]), E::ENOSPC),
            (Call::write(u64::MAX, vec![1, 2]), E::ENOSPC),
            (Call::write(0, vec![1]).with_flags(CommandFlags::DF), E::EINVAL),
            (Call::write(0, vec![1]).with_flags(CommandFlags(1 << 9)), E::EINVAL),
            (Call::new(C::TRIM, 0, 1).with_flags(CommandFlags::FAST_ZERO), E::EINVAL),
            (Call::new(C::CACHE, size, 1), E::EINVAL),
            (Call::new(C::CACHE, 0, 1).with_flags(CommandFlags(1 << 6)), E::EINVAL),
            (Call::new(C::BLOCK_STATUS, 0, 1), E::EINVAL),
            (Call::new(Command(0x7fff), 0, 1), E::EINVAL),
        ] {
            assert_eq!(failed(client.call(call.clone()).await), error, "{call:?}");
        }
        for call in [
            Call::new(C::READ, size, 0),
            Call::new(C::READ, 0, 1).with_flags(fua),
            Call::new(C::FLUSH, 0, 0).with_flags(fua),
            Call::new(C::TRIM, 0, 0).with_flags(fua),
            Call::write(size, Vec::new()),
            Call::write(0, vec![1]).with_flags(fua),
            Call::new(C::WRITE_ZEROES, 0, size).with_flags(fua | CommandFlags::NO_HOLE),
        ] {
            client.call(call.clone()).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        }
        client.disconnect().await.unwrap();
    }
}

#[tokio::test]
async fn extended_headers_have_room_for_more_than_4_gib() {
    const SIZE: u64 = 9 << 30;
    const BASE: &str = "base:allocation";
    const BITMAP: &str = "qemu:dirty-bitmap:b0";
    let server = |fault| {
        let bitmap = DirtyBitmap::new("b0", 65_536).unwrap();
        let export = Export::new("", MemoryStore::new(SIZE)).with_bitmap(bitmap);
        Server::builder().export(export).fault(fault).build().unwrap()
    };
    let contexts = vec![BASE.to_owned(), BITMAP.to_owned()];
    let options = Options { contexts, ..Options::default() };
    let client = enter(&server(None), "", &options).await;
    assert!(client.details().flags.has(TransmissionFlags::BLOCK_STATUS_PAYLOAD));
    client.write(SIZE - 512, &[7; 512]).await.unwrap();
    let all = client.block_status(0, SIZE, false).await.unwrap();
    assert_eq!(all.len(), 2);
    let map = client.map(BASE, 0, SIZE).await.unwrap();
    assert!(map[0].length > 1 << 32, "{map:?}");
    assert_eq!(map.iter().map(|extent| extent.length).sum::<u64>(), SIZE);
    let dirty = client.map(BITMAP, 0, SIZE).await.unwrap();
    assert_eq!(dirty.iter().map(|extent| extent.status).collect::<Vec<_>>(), [0, 1]);
    client.zero(0, SIZE, false).await.unwrap();
    assert_eq!(client.read(SIZE - 512, 512).await.unwrap(), [0; 512]);
    client.disconnect().await.unwrap();
    // A server that tells of more than the payload names.
    let client = enter(&server(Some(Fault::StatusPayloadIgnored)), "", &options).await;
    let told = client.map(BITMAP, 0, SIZE).await.unwrap_err();
    assert!(matches!(told, ClientError::Misbehaved(Violation::ContextUnexpected(_))), "{told}");
}

#[tokio::test]
async fn a_read_only_export_stays_as_it_is() {
    let client = enter(&server(), "pattern", &Options::default()).await;
    let before = client.read(0, MIB).await.unwrap();
    for call in [
        Call::write(0, vec![1; 512]),
        Call::new(Command::TRIM, 0, 512),
        Call::new(Command::WRITE_ZEROES, 0, 512),
    ] {
        assert_eq!(failed(client.call(call).await), ErrorCode::EPERM);
    }
    assert_eq!(client.read(0, MIB).await.unwrap(), before);
    assert_eq!(client.trim(0, 512).await, Err(ClientError::NotOffered("NBD_CMD_TRIM")));
}

#[tokio::test]
async fn size_constraints_are_told_demanded_and_enforced() {
    let server = server();
    let unaware = Options::default().with(|h| h.block_size = false);
    match Client::over(link(&server).0, "blocks", &unaware).await {
        Err(ClientError::Refused { error: ReplyType::ERR_BLOCK_SIZE_REQD, .. }) => {}
        other => panic!("{other:?}"),
    }
    let client = enter(&server, "blocks", &structured()).await;
    let einval = ErrorCode::EINVAL;
    assert_eq!(failed(client.call(Call::new(Command::READ, 1, 512)).await), einval);
    assert_eq!(failed(client.call(Call::new(Command::TRIM, 0, 100)).await), einval);
    assert_eq!(failed(client.call(Call::new(Command::READ, 0, (1 << 20) + 512)).await), einval);
    assert_eq!(failed(client.call(Call::write(0, vec![0; (1 << 20) + 512])).await), einval);
    // In pieces of the maximum it fits.
    client.write(0, &vec![7; 4 * MIB]).await.unwrap();
    assert_eq!(client.read(0, 4 * MIB).await.unwrap(), vec![7; 4 * MIB]);
    // Under extended headers the server need not swallow what is too long.
    let client = enter(&server, "blocks", &Options::default()).await;
    let long = client.call(Call::write(0, vec![0; (1 << 20) + 512])).await;
    assert_eq!(long, Err(ClientError::Closed("a reply")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_are_in_flight_together() {
    let client = enter(&server(), "", &Options::default()).await;
    let tasks: Vec<_> = (0..300u64)
        .map(|index| {
            let client = client.clone();
            tokio::spawn(async move {
                let data = vec![index as u8; 8192];
                client.write(index * 8192, &data).await?;
                let read = client.read(index * 8192, 8192).await?;
                assert_eq!(read, data);
                Ok::<_, ClientError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    client.disconnect().await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_only_itself() {
    let limits = Limits { in_flight: 4, buffers: 1 << 20, ..Limits::default() };
    let server = Server::builder()
        .export(Export::new("", MemoryStore::new(64 << 20)))
        .limits(limits)
        .build()
        .unwrap();
    // More replies than limits and pipe hold together; nobody reads until they are asked for.
    let client = enter(&server, "", &Options::default()).await;
    let reads: Vec<_> = (0..32u64)
        .map(|index| {
            let client = client.clone();
            tokio::spawn(async move { client.read(index << 20, MIB).await })
        })
        .collect();
    let other = enter(&server, "", &Options::default()).await;
    other.write(0, &[1; 512]).await.unwrap();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().len(), MIB);
    }
}

#[tokio::test]
async fn a_file_is_served_with_its_holes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let server = Server::builder()
        .export(Export::new("", FileStore::open(file.path(), false).unwrap()))
        .build()
        .unwrap();
    for options in [Options::default(), simple()] {
        let client = enter(&server, "", &options).await;
        client.write(65_536, &[9; 65_536]).await.unwrap();
        client.call(Call::write(0, vec![8; 512]).with_flags(CommandFlags::FUA)).await.unwrap();
        let read = client.read(0, 1 << 20).await.unwrap();
        assert_eq!(read, std::fs::read(file.path()).unwrap());
        let whole = Call::new(Command::READ, 0, 1 << 20);
        if client.is_structured() {
            let whole = whole.with_flags(CommandFlags::DF);
            assert_eq!(client.call(whole).await.unwrap(), read);
        }
        client.zero(0, 1 << 20, false).await.unwrap();
        client.disconnect().await.unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), vec![0; 1 << 20]);
    }
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_fails_later_ones() {
    let limits = Limits { shutdown: Duration::from_secs(10), ..Limits::default() };
    let handle = Server::builder()
        .export(Export::new("", MemoryStore::new(1 << 20)))
        .limits(limits)
        .tcp(([127, 0, 0, 1], 0).into())
        .start()
        .await
        .unwrap();
    let uri = handle.uris("")[0].clone();
    let client = Client::connect(&uri, &Options::default()).await.unwrap();
    let mut haggling = Haggling::connect(&uri, &Options::default()).await.unwrap();
    haggling.list().await.unwrap();
    let shutdown = tokio::spawn(handle.shutdown());
    // The state changes as soon as the task runs.
    while haggling.list().await.is_ok() {
        tokio::task::yield_now().await;
    }
    match haggling.list().await {
        Err(ClientError::Refused { error: ReplyType::ERR_SHUTDOWN, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(failed(client.call(Call::new(Command::READ, 0, 512)).await), ErrorCode::ESHUTDOWN);
    haggling.abort().await.unwrap();
    client.disconnect().await.unwrap();
    shutdown.await.unwrap();
    let gone = Client::connect(&uri, &Options::default()).await;
    assert!(matches!(gone, Err(ClientError::Connect { .. })));
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let start =
        || Server::builder().export(Export::new("", MemoryStore::new(1))).unix(&path).start();
    let handle = start().await.unwrap();
    assert!(matches!(start().await, Err(StartError::Listen { .. })));
    let client = Client::connect(&handle.uris("")[0], &Options::default()).await.unwrap();
    client.disconnect().await.unwrap();
    handle.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Server::builder()
        .export(Export::new("", MemoryStore::new(1)))
        .limits(limits)
        .build()
        .unwrap();
    let first = enter(&server, "", &Options::default()).await;
    let second = Client::over(link(&server).0, "", &Options::default()).await.unwrap_err();
    assert_eq!(second, ClientError::Closed("a greeting"));
    first.disconnect().await.unwrap();
    enter(&server, "", &Options::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_takes_no_longer_than_the_limit() {
    let (_stream, ending) = link(&server());
    assert_eq!(ending.await.unwrap(), Ending::TimedOut("the handshake"));
}

/// What the client says of a server with this fault.
async fn violation(fault: Fault, options: &Options) -> Violation {
    let server = Server::builder()
        .export(Export::new("", MemoryStore::pattern(1 << 20, 1)))
        .fault(fault)
        .build()
        .unwrap();
    let (stream, _) = link(&server);
    let session = async {
        let client = Client::over(stream, "", options).await?;
        client.read(1000, 4000).await?;
        let df = CommandFlags::DF;
        if client.details().flags.has(TransmissionFlags::SEND_DF) {
            client.call(Call::new(Command::READ, 0, 4096).with_flags(df)).await?;
        }
        if !client.contexts().is_empty() {
            client.block_status(0, 65_536, false).await?;
            client.block_status(0, 65_536, true).await?;
        }
        client.write(0, &[1; 512]).await?;
        match client.call(Call::new(Command::READ, 1 << 20, 512)).await {
            Ok(_) | Err(ClientError::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
        client.disconnect().await
    };
    match session.await {
        Err(ClientError::Misbehaved(violation)) => violation,
        other => panic!("{fault}: {other:?}"),
    }
}

#[tokio::test]
async fn the_client_notices_what_a_server_gets_wrong() {
    use Violation as V;
    let structured = structured();
    let extended = Options::default();
    let by_name = Options::default().with(|h| {
        h.go = false;
        h.no_zeroes = false;
    });
    let base = "base:allocation".to_owned();
    let mapping = Options { contexts: vec![base.clone(), base], ..structured.clone() };
    let wide = mapping.clone().with(|h| h.extended_headers = true);
    for (fault, options, requirement) in [
        (Fault::ContextSelectedTwice, &mapping, "opt-set-meta-unique-ids"),
        (Fault::ContextIdOther, &mapping, "status-one-chunk-per-context"),
        (Fault::StatusChunkMissing, &mapping, "status-one-chunk-per-context"),
        (Fault::StatusSimple, &mapping, "status-reply-structured"),
        (Fault::StatusExtentEmpty, &mapping, "status-extent-nonzero"),
        (Fault::StatusExtentTooMany, &mapping, "status-sum-before-last"),
        (Fault::StatusBeyondExport, &mapping, "status-within-export"),
        (Fault::StatusOneTwice, &mapping, "status-req-one-single-extent"),
        (Fault::StatusOneLonger, &mapping, "status-req-one-single-extent"),
        (Fault::StatusChunkMissing, &wide, "status-one-chunk-per-context"),
        (Fault::StatusBeyondExport, &wide, "status-within-export"),
        (Fault::ExtendedStatusCompact, &wide, "ext-block-status-compact-only"),
        (Fault::ExtendedStatusCount, &wide, "ext-block-status-ext-count"),
        (Fault::ExtendedStatusUpper, &wide, "ext-block-status-ext-upper-zero"),
        (Fault::ExtendedStatusEmpty, &wide, "ext-block-status-ext-extent-nonzero"),
        (Fault::ExtendedOffsetZero, &extended, "ext-reply-offset-matches"),
        (Fault::ExtendedSimpleReply, &extended, "ext-no-simple-reply"),
        (Fault::ExtendedCompactChunks, &extended, "ext-all-replies-extended"),
        (Fault::OptionReplyOtherCode, &structured, "option-reply-echoes-option"),
        (Fault::InfoWithoutExport, &structured, "opt-info-export-required"),
        (Fault::BlockSizeMinimumOdd, &structured, "block-size-min-power-of-2"),
        (Fault::BlockSizePreferredSmall, &structured, "block-size-preferred-lower-bound"),
        (Fault::BlockSizeMaximumSmall, &structured, "block-size-max-lower-bound"),
        (Fault::HasFlagsClear, &structured, "tflag-has-flags"),
        (Fault::ExportNamePaddingFilled, &by_name, "opt-export-name-padding-zero"),
        (Fault::CookieWrong, &structured, "cookie-echoed"),
        (Fault::ReplyTwice, &structured, "cookie-echoed"),
        (Fault::SimpleToStructuredRead, &structured, "read-structured-no-simple"),
        (Fault::StructuredUnasked, &simple(), "reply-simple-only-without-structured"),
        (Fault::ReplyOldMagic, &simple(), "magic-historic-not-used"),
        (Fault::ChunksOverlap, &structured, "chunk-content-no-overlap"),
        (Fault::ChunkOutOfBounds, &structured, "chunk-content-in-bounds"),
        (Fault::ChunkHoleEmpty, &structured, "chunk-offset-hole-nonzero"),
        (Fault::ChunkNoneNotLast, &structured, "chunk-none-done"),
        (Fault::ChunkTypeUnfit, &structured, "chunk-type-fits-command"),
        (Fault::ReadShort, &structured, "read-structured-covers-request"),
        (Fault::DfFragmented, &structured, "read-df-one-content-chunk"),
        (Fault::ErrorChunkZero, &structured, "chunk-error-nonzero"),
        (Fault::DiscAnswered, &structured, "cookie-echoed"),
    ] {
        assert_eq!(violation(fault, options).await.requirement(), requirement, "{fault}");
    }
    let magic = violation(Fault::GoPadded, &structured).await;
    assert!(matches!(magic, V::Magic(_)), "{magic}");
}
