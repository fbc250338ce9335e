//! What the profiles offer, against a table of what the releases were measured to offer and
//! against captures of the releases themselves.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use protocol::values::{Command, ErrorCode, ReplyType, TransmissionFlags as F};
use reference_server::client::{Call, Client, ClientError, Haggling, Options};
use reference_server::store::MemoryStore;
use reference_server::{DirtyBitmap, Export, Profile, Server};
use tokio::io::AsyncReadExt as _;

const SIZE: u64 = 1 << 20;

/// The table: written down from measurements of the releases, not from the profiles. `TRIM` and so
/// on are left out of the names; HAS_FLAGS, SEND_FLUSH and SEND_FUA are always there.
const TABLE: [Measured; 10] = [
    row("2.6", 1, Form::Simple, None, "TRIM", "READ_ONLY TRIM", 256, "EINVAL EPERM", 0),
    row(
        "2.8",
        3,
        Form::Simple,
        None,
        "TRIM ZEROES",
        "READ_ONLY TRIM ZEROES",
        256,
        "ENOSPC EPERM",
        0,
    ),
    row(
        "2.10",
        3,
        Form::Go,
        Some(512),
        "TRIM ZEROES",
        "READ_ONLY TRIM ZEROES",
        1000,
        "ENOSPC EPERM",
        0,
    ),
    row(
        "2.11",
        3,
        Form::Structured,
        Some(512),
        "TRIM ZEROES",
        "READ_ONLY TRIM ZEROES",
        256,
        "ENOSPC EPERM",
        0,
    ),
    row(
        "2.12",
        3,
        Form::Structured,
        Some(512),
        "TRIM ZEROES",
        "READ_ONLY TRIM ZEROES",
        256,
        "EINVAL EINVAL",
        1,
    ),
    // Measured: CACHE on the bit of CAN_MULTI_CONN.
    row(
        "3.0",
        3,
        Form::Structured,
        Some(512),
        "TRIM ZEROES CACHE",
        "READ_ONLY TRIM ZEROES CACHE",
        256,
        "EINVAL EINVAL",
        2,
    ),
    row(
        "4.2",
        3,
        Form::Structured,
        Some(1),
        "TRIM ZEROES CACHE FAST",
        "READ_ONLY CACHE MULTI",
        4096,
        "EINVAL EINVAL",
        2,
    ),
    row(
        "5.2",
        3,
        Form::Structured,
        Some(1),
        "TRIM ZEROES CACHE FAST",
        "READ_ONLY CACHE MULTI",
        4096,
        "EINVAL EINVAL",
        3,
    ),
    row(
        "7.1",
        3,
        Form::Structured,
        Some(1),
        "TRIM ZEROES CACHE FAST MULTI",
        "READ_ONLY CACHE MULTI",
        4096,
        "EINVAL EINVAL",
        3,
    ),
    row(
        "8.2",
        3,
        Form::Extended,
        Some(1),
        "TRIM ZEROES CACHE FAST MULTI",
        "READ_ONLY CACHE MULTI",
        4096,
        "EINVAL EINVAL",
        3,
    ),
];

/// How far negotiation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// No `NBD_OPT_GO`.
    Simple,
    Go,
    Structured,
    Extended,
}

struct Measured {
    version: &'static str,
    handshake: u16,
    form: Form,
    minimum: Option<u32>,
    writable: &'static str,
    read_only: &'static str,
    name_limit: usize,
    errors: &'static str,
    /// Of base:allocation, qemu:dirty-bitmap:, qemu:allocation-depth.
    contexts: usize,
}

#[allow(clippy::too_many_arguments, reason = "a row of a table")]
const fn row(
    version: &'static str,
    handshake: u16,
    form: Form,
    minimum: Option<u32>,
    writable: &'static str,
    read_only: &'static str,
    name_limit: usize,
    errors: &'static str,
    contexts: usize,
) -> Measured {
    Measured {
        version,
        handshake,
        form,
        minimum,
        writable,
        read_only,
        name_limit,
        errors,
        contexts,
    }
}

fn flags(words: &str) -> F {
    let always = F::HAS_FLAGS | F::SEND_FLUSH | F::SEND_FUA;
    words.split_whitespace().fold(always, |flags, word| {
        flags
            | match word {
                "READ_ONLY" => F::READ_ONLY,
                "TRIM" => F::SEND_TRIM,
                "ZEROES" => F::SEND_WRITE_ZEROES,
                "CACHE" => F::SEND_CACHE,
                "FAST" => F::SEND_FAST_ZERO,
                "MULTI" => F::CAN_MULTI_CONN,
                "DF" => F::SEND_DF,
                "PAYLOAD" => F::BLOCK_STATUS_PAYLOAD,
                other => panic!("{other}"),
            }
    })
}

fn server(profile: &'static Profile, read_only: bool, shared: bool) -> Server {
    let export = Export::new("disk", MemoryStore::new(SIZE))
        .with_description("a disk")
        .with_read_only(read_only)
        .with_multi_conn(shared)
        .with_bitmap(DirtyBitmap::new("b0", 65_536).unwrap());
    Server::builder().profile(profile).export(export).build().unwrap()
}

/// The client's end of a connection to the server.
fn dial(server: &Server) -> tokio::io::DuplexStream {
    let (here, there) = tokio::io::duplex(1 << 16);
    let server = server.clone();
    tokio::spawn(async move { server.serve_stream(there).await });
    here
}

fn wanting(form: Form) -> Options {
    let contexts = vec!["base:allocation".to_owned()];
    Options { contexts, ..Options::default() }.with(|habits| {
        habits.structured_reply = form >= Form::Structured;
        habits.extended_headers = form >= Form::Extended;
    })
}

async fn enter(server: &Server, options: &Options) -> Client {
    Client::over(dial(server), "disk", options).await.unwrap()
}

async fn error_of(client: &Client, call: Call) -> ErrorCode {
    match client.call(call).await {
        Err(ClientError::Failed { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

async fn check(row: &Measured) {
    let version = row.version;
    let profile = Profile::find(version).unwrap();
    let (writable, read_only) = (server(profile, false, true), server(profile, true, true));

    let mut greeting = [0; 18];
    dial(&writable).read_exact(&mut greeting).await.unwrap();
    assert_eq!(u16::from_be_bytes([greeting[16], greeting[17]]), row.handshake, "{version}");

    // Everything is asked for: what comes is what the release has.
    let client = enter(&writable, &wanting(Form::Extended)).await;
    assert_eq!(client.is_structured(), row.form >= Form::Structured, "{version}");
    assert_eq!(client.is_extended(), row.form >= Form::Extended, "{version}");
    let sizes = client.details().block_sizes;
    assert_eq!(sizes.map(|sizes| sizes.minimum()), row.minimum, "{version}");
    let rest = sizes.map(|sizes| (sizes.preferred(), sizes.maximum()));
    assert_eq!(rest, row.minimum.map(|_| (4096, 33_554_432)), "{version}");

    for (server, words) in [(&writable, row.writable), (&read_only, row.read_only)] {
        for (form, more) in
            [(Form::Simple, ""), (Form::Structured, "DF"), (Form::Extended, "DF PAYLOAD")]
        {
            let more = if form <= row.form {
                more
            } else if row.form == Form::Structured {
                "DF"
            } else {
                ""
            };
            let client = enter(server, &wanting(form)).await;
            let wanted = flags(words) | flags(more);
            assert_eq!(client.details().flags.names(), wanted.names(), "{version} {form:?}");
        }
    }

    let mut haggling = Haggling::over(dial(&writable), &Options::default()).await.unwrap();
    if row.form >= Form::Structured {
        haggling.structured_reply().await.unwrap();
        let all = ["base:allocation", "qemu:dirty-bitmap:b0", "qemu:allocation-depth"];
        let names = all.map(str::to_owned);
        let selected = haggling.set_meta_contexts("disk", &names).await;
        let told = selected.iter().flatten().map(|context| context.name.as_str());
        let told: BTreeSet<&str> = told.collect();
        assert_eq!(told, all[..row.contexts].iter().copied().collect(), "{version}");
        assert_eq!(selected.is_ok(), row.contexts > 0, "{version}");
    }
    if row.form >= Form::Go {
        for (length, error) in
            [(row.name_limit, ReplyType::ERR_UNKNOWN), (row.name_limit + 1, ReplyType::ERR_INVALID)]
        {
            // The client knows the limit of the protocol.
            if length > 4096 {
                continue;
            }
            let refused = haggling.info(&"n".repeat(length)).await.unwrap_err();
            let ClientError::Refused { error: told, message, .. } = refused else { panic!() };
            assert_eq!(told, error, "{version} {length}");
            assert!(!message.is_empty(), "{version}: texts came with 2.8");
        }
    }

    let client = enter(&writable, &wanting(Form::Structured)).await;
    let reader = enter(&read_only, &wanting(Form::Structured)).await;
    let beyond = error_of(&client, Call::write(SIZE, vec![1; 512])).await;
    let forbidden = error_of(&reader, Call::write(0, vec![1; 512])).await;
    let told = format!("{beyond} {forbidden}").replace("NBD_", "");
    assert_eq!(told, row.errors, "{version}");
    let unknown =
        Call::new(Command::READ, 0, 512).with_flags(protocol::values::CommandFlags(1 << 9));
    let unknown = client.call(unknown).await;
    assert_eq!(
        unknown.is_ok(),
        version == "2.6",
        "{version}: only 2.6 ignores what it does not know"
    );
    // Whatever minimum it tells, every release serves all.
    assert_eq!(client.read(0, 512).await.unwrap(), [0; 512]);
    assert!(client.call(Call::new(Command::READ, 1, 3)).await.is_ok(), "{version}");
}

#[tokio::test]
async fn profiles_offer_what_the_releases_were_measured_to_offer() {
    assert_eq!(TABLE.len(), Profile::ALL.len());
    for row in &TABLE {
        check(row).await;
    }
}

/// The transmission flags that a capture of a release shows, each combination once.
fn captured(version: &str) -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/qemu");
    let mut seen = BTreeSet::new();
    for kind in ["server", "server-contexts"] {
        let path = format!("{folder}/{version}-{kind}.snap");
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        for line in text.lines() {
            let tells = line.starts_with("S: export-info ") || line.contains(" NBD_INFO_EXPORT ");
            if let (true, Some((_, rest))) =
                (tells && line.starts_with("S: "), line.split_once("flags={"))
            {
                let names = rest.split('}').next().unwrap_or_default();
                seen.insert(names.to_owned());
            }
        }
    }
    seen
}

#[tokio::test]
async fn profiles_set_the_flags_that_captures_of_the_releases_show() {
    for profile in Profile::ALL {
        let version = profile.version();
        let seen = captured(version);
        assert!(!seen.is_empty(), "there is no capture of {version}");
        let mut set = BTreeSet::new();
        for read_only in [false, true] {
            // The captured servers took one client at a time.
            let server = server(profile, read_only, false);
            for form in [Form::Simple, Form::Structured, Form::Extended] {
                for contexts in [true, false] {
                    let mut options = wanting(form);
                    options.contexts.retain(|_| contexts);
                    let client = enter(&server, &options).await;
                    set.insert(client.details().flags.names().join(" "));
                }
            }
        }
        for names in seen {
            // 3.0 has CACHE on the bit of CAN_MULTI_CONN, which the profile does not imitate.
            let names = match version {
                "3.0" => names.replace("CAN_MULTI_CONN", "SEND_CACHE"),
                _ => names,
            };
            assert!(set.contains(&names), "{version} sets {{{names}}}, its profile {set:?}");
        }
    }
}
