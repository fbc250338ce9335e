//! How much the server puts up with, byte by byte.

#![allow(clippy::unwrap_used, reason = "a failed test should say where")]

use protocol::codec::{self, Step};
use protocol::message::{
    Cookie, Message, OptionBody, OptionReply, OptionRequest, Request, RequestForm, SimpleReply,
};
use protocol::values::{ClientFlags, Command, CommandFlags, ErrorCode, OptionType, ReplyType};
use reference_server::store::MemoryStore;
use reference_server::{Ending, Export, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;

/// A session that has got as far as the client's flags.
async fn session() -> (DuplexStream, JoinHandle<Ending>) {
    let export = Export::new("", MemoryStore::new(64 << 20));
    let server = Server::builder().export(export).build().unwrap();
    let (mut ours, theirs) = tokio::io::duplex(MIB);
    let serving = tokio::spawn(async move { server.serve_stream(theirs).await });
    let mut greeting = [0; 18];
    ours.read_exact(&mut greeting).await.unwrap();
    ours.write_all(&Message::ClientFlags(ClientFlags(3)).to_bytes()).await.unwrap();
    (ours, serving)
}

/// The header of an option with that much data.
fn option(option: OptionType, length: usize) -> Vec<u8> {
    let body = OptionBody::Bulk(length as u32);
    Message::Option(OptionRequest { option, body }).to_bytes()
}

async fn reply(stream: &mut DuplexStream) -> OptionReply {
    let mut bytes = Vec::new();
    loop {
        match codec::option_reply(&bytes, Default::default()).unwrap() {
            Step::Ready(reply, _) => return reply,
            Step::Need(more) => {
                let start = bytes.len();
                bytes.resize(start + more, 0);
                stream.read_exact(&mut bytes[start..]).await.unwrap();
            }
        }
    }
}

async fn enter(stream: &mut DuplexStream) {
    stream.write_all(&option(OptionType::EXPORT_NAME, 0)).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
}

fn write(cookie: u64, length: u64) -> Vec<u8> {
    Message::Request(Request {
        form: RequestForm::Compact,
        flags: CommandFlags::EMPTY,
        command: Command::WRITE,
        cookie: Cookie(cookie),
        offset: 0,
        length,
        status: None,
    })
    .to_bytes()
}

async fn simple_reply(stream: &mut DuplexStream) -> SimpleReply {
    let mut bytes = [0; 16];
    stream.read_exact(&mut bytes).await.unwrap();
    match codec::reply(&bytes, Default::default()).unwrap() {
        Step::Ready(Message::SimpleReply(reply), 16) => reply,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn data_of_unknown_options_is_passed_over() {
    let (mut stream, _) = session().await;
    for length in [0, 1, 4096, 100_000, 16 * MIB] {
        stream.write_all(&option(OptionType(0x4e42_4421), length)).await.unwrap();
        stream.write_all(&vec![0x55; length]).await.unwrap();
        let answer = reply(&mut stream).await;
        assert_eq!(answer.option, OptionType(0x4e42_4421));
        assert_eq!(answer.reply, ReplyType::ERR_UNSUP);
    }
    // Known ones, too long to be kept.
    for (known, error) in [
        (OptionType::GO, ReplyType::ERR_INVALID),
        (OptionType::LIST, ReplyType::ERR_INVALID),
        (OptionType::STRUCTURED_REPLY, ReplyType::ERR_INVALID),
        (OptionType::ABORT, ReplyType::ACK),
    ] {
        stream.write_all(&option(known, 100_000)).await.unwrap();
        stream.write_all(&vec![0x55; 100_000]).await.unwrap();
        assert_eq!(reply(&mut stream).await.reply, error);
    }
}

#[tokio::test]
async fn absurd_option_lengths_end_the_session() {
    let (mut stream, serving) = session().await;
    stream.write_all(&option(OptionType(99), u32::MAX as usize)).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    assert!(matches!(serving.await.unwrap(), Ending::Refused(_)));
}

#[tokio::test]
async fn a_payload_above_the_maximum_is_passed_over() {
    let (mut stream, _) = session().await;
    enter(&mut stream).await;
    for (cookie, length, error) in
        [(1, 32 * MIB, ErrorCode::OK), (2, 33 * MIB, ErrorCode::EINVAL), (3, 512, ErrorCode::OK)]
    {
        stream.write_all(&write(cookie, length as u64)).await.unwrap();
        stream.write_all(&vec![0x55; length]).await.unwrap();
        let answer = simple_reply(&mut stream).await;
        assert_eq!(answer, SimpleReply { error, cookie: Cookie(cookie) });
    }
}

#[tokio::test]
async fn an_absurd_payload_ends_the_session() {
    let (mut stream, serving) = session().await;
    enter(&mut stream).await;
    stream.write_all(&write(1, 65 * MIB as u64)).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    assert!(matches!(serving.await.unwrap(), Ending::Refused(_)));
}

#[tokio::test]
async fn what_is_no_request_ends_the_session() {
    let (mut stream, serving) = session().await;
    enter(&mut stream).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(stream);
    let ending = serving.await.unwrap().to_string();
    assert!(ending.contains("0x47455420"), "{ending}");
}
