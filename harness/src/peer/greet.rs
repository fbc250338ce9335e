//! Does a server answer? Takes its greeting and leaves as a client should.

use std::io;
use std::time::Duration;

use dissector::render::Plural;
use protocol::codec::{self, Step};
use protocol::message::Greeting;
use protocol::values::{ClientFlags, HandshakeFlags, OPTION_MAGIC, OptionType, ReplyType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::address::Address;

/// How long the answer to the farewell is awaited.
const FAREWELL: Duration = Duration::from_millis(500);
/// The longest greeting (oldstyle), in bytes.
const GREETING_LIMIT: usize = 152;

/// Connects, reads the greeting and ends the session: from a fixed newstyle server by
/// `NBD_OPT_ABORT`, so that it has nothing to complain of.
///
/// # Errors
/// No connection, no NBD greeting, or not within `limit`; what came in time is told.
pub async fn greet(address: &Address, limit: Duration) -> io::Result<Greeting> {
    let attempt = async {
        let mut stream = address.connect(limit).await?;
        let mut bytes = Vec::new();
        let greeting = loop {
            match codec::greeting(&bytes).map_err(invalid)? {
                Step::Ready(greeting, _) => break greeting,
                Step::Need(more) => {
                    let mut piece = [0; GREETING_LIMIT];
                    let count = stream.read(&mut piece[..more.min(GREETING_LIMIT)]).await?;
                    if count == 0 {
                        let came = Plural(bytes.len() as u64, "byte");
                        let text = format!("closed after {came} of greeting");
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                    }
                    bytes.extend_from_slice(&piece[..count]);
                }
            }
        };
        Ok((stream, greeting))
    };
    let (mut stream, greeting) = timeout(limit, attempt).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no greeting within {limit:?}")))
    })?;
    if let Greeting::Newstyle { flags } = greeting
        && flags.has(HandshakeFlags::FIXED_NEWSTYLE)
    {
        let mut abort = Vec::new();
        abort.extend_from_slice(&ClientFlags::FIXED_NEWSTYLE.0.to_be_bytes());
        abort.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
        abort.extend_from_slice(&OptionType::ABORT.0.to_be_bytes());
        abort.extend_from_slice(&0u32.to_be_bytes());
        let farewell = async {
            stream.write_all(&abort).await?;
            let mut header = [0; 20];
            stream.read_exact(&mut header).await?;
            // An acknowledgement comes with the end; after a refusal (TLS wanted) we end.
            if header[12..16] == ReplyType::ACK.0.to_be_bytes() {
                while stream.read(&mut header).await? > 0 {}
            }
            io::Result::Ok(())
        };
        // The greeting is what was wanted; how the farewell goes is no matter here.
        let _ = timeout(FAREWELL, farewell).await;
    }
    Ok(greeting)
}

fn invalid(error: codec::BadMagic) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no NBD greeting: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn greeted_with(bytes: &'static [u8]) -> Result<Greeting, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut heard = vec![0; 20];
            if stream.read_exact(&mut heard).await.is_err() { Vec::new() } else { heard }
        });
        let greeting = greet(&address, Duration::from_secs(5)).await.map_err(|e| e.to_string());
        let heard = server.await.unwrap();
        let aborts = heard.ends_with(b"IHAVEOPT\x00\x00\x00\x02\x00\x00\x00\x00");
        assert_eq!(aborts, bytes.ends_with(b"\x00\x03"));
        greeting
    }

    #[tokio::test]
    async fn takes_a_greeting_and_says_goodbye() {
        let greeting = greeted_with(b"NBDMAGICIHAVEOPT\x00\x03").await;
        assert_eq!(greeting, Ok(Greeting::Newstyle { flags: HandshakeFlags(3) }));
    }

    #[tokio::test]
    async fn says_what_is_no_greeting() {
        insta::assert_snapshot!(
            greeted_with(b"SSH-2.0-OpenSSH\r\n").await.unwrap_err(),
            @"no NBD greeting: expected NBDMAGIC, found magic 0x5353482d322e302d at byte 0"
        );
    }
}
