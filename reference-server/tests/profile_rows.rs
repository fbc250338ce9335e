//! Answers in which releases of qemu differ from each other and from what the specification
//! recommends: as they were measured, against the profiles.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

mod held;

use protocol::message::{
    Cookie, Message, OptionBody, OptionRequest, Request, RequestForm, StatusPayload,
};
use protocol::text::WireString;
use protocol::values::{ClientFlags, Command, CommandFlags, InfoType, OptionType, ReplyType};
use reference_server::client::{Haggling, Options};
use reference_server::store::MemoryStore;
use reference_server::{DirtyBitmap, Ending, Export, Profile, Server};

const SIZE: u64 = 64 << 20;
const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// The releases from one on, up to and with another.
fn releases(first: &str, last: &str) -> impl Iterator<Item = &'static Profile> {
    let at = |name| Profile::ALL.iter().position(|profile| profile.version() == name).unwrap();
    Profile::ALL[at(first)..=at(last)].iter()
}

fn server(profile: &'static Profile, read_only: bool) -> Server {
    let bitmap = |name| DirtyBitmap::new(name, 65_536).unwrap();
    let export = Export::new("disk", MemoryStore::new(SIZE))
        .with_read_only(read_only)
        .with_bitmap(bitmap("b0"))
        .with_bitmap(bitmap("b1"));
    Server::builder().profile(profile).export(export).build().unwrap()
}

/// What a server says to some bytes and the end of the stream, and how the session ends.
async fn hold(profile: &'static Profile, read_only: bool, bytes: &[u8]) -> (Vec<u8>, Ending) {
    held::hold(server(profile, read_only), bytes).await
}

fn option(option: OptionType, body: OptionBody) -> Message {
    Message::Option(OptionRequest { option, body })
}

fn bare(kind: OptionType) -> Message {
    option(kind, OptionBody::Empty)
}

fn info(name: &[u8]) -> Message {
    let requests = vec![InfoType::BLOCK_SIZE];
    option(OptionType::INFO, OptionBody::Info { name: name.into(), requests })
}

/// Client flags, FIXED_NEWSTYLE alone, and messages; writes are followed by their data.
fn talk(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Message::ClientFlags(ClientFlags(1)).to_bytes();
    for message in messages {
        message.encode(&mut bytes);
        bytes.resize(bytes.len() + message.bulk() as usize, 0x5a);
    }
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The types of the replies to options, without those that more follow.
async fn answers(profile: &'static Profile, messages: &[Message]) -> Vec<ReplyType> {
    let (answer, _) = hold(profile, false, &talk(messages)).await;
    let (mut at, mut types) = (18, Vec::new());
    while at < answer.len() {
        types.push(ReplyType(word(&answer, at + 12)));
        at += 20 + word(&answer, at + 16) as usize;
    }
    types.retain(|reply| *reply == ReplyType::ACK || reply.is_error());
    types
}

fn request(command: Command, flags: u16, offset: u64, length: u64) -> Message {
    Message::Request(Request {
        form: RequestForm::Compact,
        flags: CommandFlags(flags),
        command,
        cookie: Cookie(7),
        offset,
        length,
        status: None,
    })
}

fn enter() -> Message {
    option(OptionType::EXPORT_NAME, OptionBody::Name("disk".into()))
}

/// The errors of simple replies without data, and how the session ends.
async fn errors_of(profile: &'static Profile, read_only: bool, bytes: &[u8]) -> (Vec<u32>, Ending) {
    let (answer, ending) = hold(profile, read_only, bytes).await;
    // The greeting, and the answer to NBD_OPT_EXPORT_NAME with its zeroes.
    let replies = answer[18 + 134..].chunks(16);
    let error = |reply: &[u8]| {
        assert_eq!(word(reply, 0), 0x6744_6698, "{profile}");
        assert_eq!(reply[8..], 7u64.to_be_bytes(), "{profile}");
        word(reply, 4)
    };
    (replies.map(error).collect(), ending)
}

async fn errors(profile: &'static Profile, read_only: bool, requests: &[Message]) -> Vec<u32> {
    let messages = [&[enter()], requests].concat();
    errors_of(profile, read_only, &talk(&messages)).await.0
}

#[tokio::test]
async fn contexts_are_numbered_by_their_kind() {
    let names = [
        "base:allocation",
        "qemu:allocation-depth",
        "qemu:dirty-bitmap:b0",
        "qemu:dirty-bitmap:b1",
    ];
    for (first, last, known) in [
        ("2.12", "2.12", &[(0, 0)][..]),
        ("3.0", "4.2", &[(0, 0), (2, 1), (3, 2)]),
        ("5.2", "8.2", &[(0, 0), (1, 1), (2, 2), (3, 3)]),
    ] {
        for profile in releases(first, last) {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let server = server(profile, false);
            tokio::spawn(async move { server.serve_stream(theirs).await });
            let mut haggling = Haggling::over(ours, &Options::default()).await.unwrap();
            haggling.structured_reply().await.unwrap();
            let selected =
                haggling.set_meta_contexts("disk", &names.map(str::to_owned)).await.unwrap();
            let mut told: Vec<_> =
                selected.iter().map(|context| (context.name.clone(), context.id)).collect();
            told.sort();
            let expected: Vec<_> =
                known.iter().map(|(index, id)| (names[*index].to_owned(), *id)).collect();
            assert_eq!(told, expected, "{profile}");
        }
    }
}

#[tokio::test]
async fn a_status_payload_may_name_context_0() {
    let set = option(
        OptionType::SET_META_CONTEXT,
        OptionBody::Meta { export: "disk".into(), queries: vec!["base:allocation".into()] },
    );
    let go = option(OptionType::GO, OptionBody::Info { name: "disk".into(), requests: Vec::new() });
    let status = Message::Request(Request {
        form: RequestForm::Extended,
        flags: CommandFlags::PAYLOAD_LEN,
        command: Command::BLOCK_STATUS,
        cookie: Cookie(7),
        offset: 0,
        length: 12,
        status: Some(StatusPayload { effect_length: 4096, ids: vec![0] }),
    });
    for profile in releases("8.2", "8.2") {
        let bytes =
            talk(&[bare(OptionType::EXTENDED_HEADERS), set.clone(), go.clone(), status.clone()]);
        let (answer, _) = hold(profile, false, &bytes).await;
        let chunk = answer.windows(4).position(|four| four == 0x6e8a_278c_u32.to_be_bytes());
        let chunk = &answer[chunk.unwrap()..];
        assert_eq!(chunk[6..8], [0, 6], "{profile}: a status chunk of the extended form");
    }
}

#[tokio::test]
async fn a_write_above_32_mib_is_answered_by_its_header_and_ends_the_session() {
    for profile in Profile::ALL {
        let mut bytes = talk(&[enter()]);
        request(Command::WRITE, 0, 0, (32 << 20) + 1).encode(&mut bytes);
        let (errors, ending) = errors_of(profile, false, &bytes).await;
        assert_eq!(errors, [EINVAL], "{profile}");
        assert!(matches!(ending, Ending::Refused(_)), "{profile}: {ending:?}");
    }
}

#[tokio::test]
async fn names_are_looked_up_as_they_are() {
    for profile in releases("2.10", "8.2") {
        assert_eq!(
            answers(profile, &[info(b"\xff\xfe")]).await,
            [ReplyType::ERR_UNKNOWN],
            "{profile}"
        );
    }
    for profile in releases("2.10", "5.2") {
        assert_eq!(answers(profile, &[info(b"disk\0x")]).await, [ReplyType::ACK; 1], "{profile}");
    }
    for profile in releases("7.1", "8.2") {
        assert_eq!(
            answers(profile, &[info(b"disk\0x")]).await,
            [ReplyType::ERR_INVALID],
            "{profile}"
        );
    }
    for (version, answer) in [("2.10", ReplyType::ERR_UNKNOWN), ("2.11", ReplyType::ERR_INVALID)] {
        for profile in releases(version, version) {
            assert_eq!(answers(profile, &[info(&[b'n'; 300])]).await, [answer], "{profile}");
        }
    }
}

#[tokio::test]
async fn data_of_starttls_is_minded_from_3_0_on() {
    let starttls = option(OptionType::STARTTLS, OptionBody::Raw(b"data".to_vec()));
    for (first, last, answer) in
        [("2.6", "2.12", ReplyType::ERR_POLICY), ("3.0", "8.2", ReplyType::ERR_INVALID)]
    {
        for profile in releases(first, last) {
            assert_eq!(
                answers(profile, std::slice::from_ref(&starttls)).await,
                [answer],
                "{profile}"
            );
        }
    }
}

#[tokio::test]
async fn a_query_that_is_too_long_is_passed_over() {
    let queries = vec![WireString(vec![b'q'; 5000])];
    let body = OptionBody::Meta { export: "disk".into(), queries };
    let set = option(OptionType::SET_META_CONTEXT, body);
    for profile in releases("2.12", "8.2") {
        let answers = answers(profile, &[bare(OptionType::STRUCTURED_REPLY), set.clone()]).await;
        assert_eq!(answers, [ReplyType::ACK; 2], "{profile}");
    }
}

#[tokio::test]
async fn extended_headers_are_agreed_once() {
    let extended = bare(OptionType::EXTENDED_HEADERS);
    for profile in releases("8.2", "8.2") {
        let answers = answers(profile, &[extended.clone(), extended.clone()]).await;
        assert_eq!(answers, [ReplyType::ACK, ReplyType::ERR_INVALID], "{profile}");
    }
}

#[tokio::test]
async fn info_tells_of_status_payload_before_contexts_are_selected() {
    for profile in releases("8.2", "8.2") {
        let bytes = talk(&[bare(OptionType::EXTENDED_HEADERS), info(b"disk")]);
        let (answer, _) = hold(profile, false, &bytes).await;
        // Type 0 (NBD_INFO_EXPORT), the size, then the flags.
        let item = [&[0, 0][..], &SIZE.to_be_bytes()].concat();
        let at = answer.windows(item.len()).position(|it| it == item).unwrap() + item.len();
        assert_eq!(answer[at] & 0x10, 0x10, "{profile}: bit 12 of the flags");
    }
}

#[tokio::test]
async fn the_data_of_any_option_is_awaited_by_2_10() {
    let mut bytes = talk(&[]);
    bytes.extend_from_slice(b"IHAVEOPT");
    bytes.extend_from_slice(&[0x4e, 0x42, 0x44, 0x21, 0xff, 0xff, 0xff, 0xff]);
    for (version, waits) in [("2.10", true), ("2.11", false)] {
        for profile in releases(version, version) {
            let (_, ending) = hold(profile, false, &bytes).await;
            assert_eq!(matches!(ending, Ending::Cut), waits, "{profile}: {ending:?}");
        }
    }
}

#[tokio::test]
async fn a_cache_above_32_mib_fails() {
    for profile in releases("3.0", "8.2") {
        let cache = request(Command::CACHE, 0, 0, (32 << 20) + 1);
        assert_eq!(errors(profile, false, &[cache]).await, [EINVAL], "{profile}");
    }
}

#[tokio::test]
async fn a_wrong_magic_is_answered_from_7_1_on() {
    let mut bytes = talk(&[enter()]);
    let at = bytes.len();
    request(Command::READ, 0, 0, 512).encode(&mut bytes);
    bytes[at] ^= 0xff;
    for (first, last, answer) in [("2.6", "5.2", &[][..]), ("7.1", "8.2", &[EINVAL])] {
        for profile in releases(first, last) {
            let (errors, ending) = errors_of(profile, false, &bytes).await;
            assert_eq!(errors, answer, "{profile}: {ending:?}");
        }
    }
}

/// The compact request is 4 bytes shorter; with 4 more it is a wrong magic, and is answered so.
#[tokio::test]
async fn a_compact_request_is_taken_for_the_beginning_of_an_extended_one() {
    let go = option(OptionType::GO, OptionBody::Info { name: "disk".into(), requests: Vec::new() });
    let mut bytes = talk(&[bare(OptionType::EXTENDED_HEADERS), go]);
    request(Command::READ, 0, 0, 512).encode(&mut bytes);
    for profile in releases("8.2", "8.2") {
        let (_, ending) = hold(profile, false, &bytes).await;
        assert!(matches!(ending, Ending::Cut), "{profile} waits: {ending:?}");
        let longer = [&bytes[..], &[0; 4]].concat();
        let (answer, ending) = hold(profile, false, &longer).await;
        let chunk = answer.windows(4).position(|four| four == 0x6e8a_278c_u32.to_be_bytes());
        assert!(chunk.is_some(), "{profile}: {ending:?}");
    }
}

#[tokio::test]
async fn zeroes_beyond_the_end_have_their_own_error_before_2_11() {
    let zeroes = request(Command::WRITE_ZEROES, 0, SIZE, 512);
    for (first, last, error) in [("2.8", "2.10", EINVAL), ("2.11", "2.11", ENOSPC)] {
        for profile in releases(first, last) {
            let errors = errors(profile, false, std::slice::from_ref(&zeroes)).await;
            assert_eq!(errors, [error], "{profile}");
        }
    }
}

#[tokio::test]
async fn on_a_read_only_export_the_range_comes_before_the_access_up_to_2_10() {
    let beyond = |command| request(command, 0, SIZE, 512);
    let [write, trim, zeroes] = [Command::WRITE, Command::TRIM, Command::WRITE_ZEROES].map(beyond);
    for (version, expected) in [
        ("2.6", &[EINVAL, EINVAL][..]),
        ("2.8", &[ENOSPC, EINVAL, EINVAL]),
        ("2.10", &[ENOSPC, EINVAL, EINVAL]),
        ("2.11", &[EPERM, EPERM, EPERM]),
    ] {
        for profile in releases(version, version) {
            let requests = [write.clone(), trim.clone(), zeroes.clone()];
            let errors = errors(profile, true, &requests[..expected.len()]).await;
            assert_eq!(errors, expected, "{profile}");
        }
    }
}

#[tokio::test]
async fn on_a_read_only_export_the_access_comes_before_flags_in_2_6_and_2_11() {
    // DF goes with READ alone.
    let with_flag = |command| request(command, 4, 0, 512);
    for (version, error) in [("2.6", EPERM), ("2.8", EINVAL), ("2.10", EINVAL), ("2.11", EPERM)] {
        for profile in releases(version, version) {
            let requests = [Command::WRITE, Command::TRIM].map(with_flag);
            assert_eq!(errors(profile, true, &requests).await, [error; 2], "{profile}");
        }
    }
}

#[tokio::test]
async fn flags_of_other_commands_are_passed_over_by_2_6() {
    let (no_hole, df, req_one, payload) = (2, 4, 8, 32);
    for profile in releases("2.6", "2.6") {
        for flag in [no_hole, df, req_one, payload] {
            let requests = [Command::FLUSH, Command::WRITE, Command::TRIM].map(|command| {
                request(command, flag, 0, if command == Command::FLUSH { 0 } else { 512 })
            });
            assert_eq!(errors(profile, false, &requests).await, [0; 3], "{profile} {flag}");
        }
    }
}
