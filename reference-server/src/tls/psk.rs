//! Pre-shared keys: what OpenSSL needs to know.

use std::io;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

use super::credentials::{BadTls, KeyLog, Versions, unfit};
use super::keys::PskKeys;
use super::stream::{Failed, TlsStream, sorted};

/// For TLS 1.2, with a Diffie-Hellman exchange first.
const CIPHERS: &str = "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:\
    PSK-AES128-GCM-SHA256:PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384";
/// For TLS 1.3. A key from outside goes with SHA-256, whatever else could be agreed.
const SUITES: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

fn builder(versions: Versions, key_log: Option<KeyLog>) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    let (least, most) = match versions {
        Versions::All => (SslVersion::TLS1_2, SslVersion::TLS1_3),
        Versions::Only12 => (SslVersion::TLS1_2, SslVersion::TLS1_2),
        Versions::Only13 => (SslVersion::TLS1_3, SslVersion::TLS1_3),
    };
    builder.set_min_proto_version(Some(least))?;
    builder.set_max_proto_version(Some(most))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_ciphersuites(SUITES)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    if let Some(key_log) = key_log {
        builder.set_keylog_callback(move |_, line| key_log.line(line));
    }
    Ok(builder)
}

pub(super) fn server(
    keys: PskKeys,
    versions: Versions,
    key_log: Option<KeyLog>,
) -> Result<SslContext, BadTls> {
    let mut builder = builder(versions, key_log).map_err(unfit)?;
    builder.set_num_tickets(0).map_err(unfit)?;
    builder.set_psk_server_callback(move |_, identity, out| {
        let user = identity.and_then(|identity| std::str::from_utf8(identity).ok());
        // No key: OpenSSL refuses the handshake.
        let key = user.and_then(|user| keys.key_of(user).ok()).unwrap_or_default();
        Ok(copy(key, out))
    });
    Ok(builder.build())
}

pub(super) fn client(
    user: &str,
    key: &[u8],
    versions: Versions,
    key_log: Option<KeyLog>,
) -> Result<SslContext, BadTls> {
    let mut builder = builder(versions, key_log).map_err(unfit)?;
    let mut identity = user.as_bytes().to_vec();
    identity.push(0);
    let key = key.to_vec();
    builder.set_psk_client_callback(move |_, _hint, name, out| {
        if copy(&identity, name) == 0 {
            return Ok(0);
        }
        Ok(copy(&key, out))
    });
    Ok(builder.build())
}

/// All of it or nothing.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    match to.get_mut(..from.len()) {
        Some(room) => {
            room.copy_from_slice(from);
            from.len()
        }
        None => 0,
    }
}

fn stream<S: AsyncRead + AsyncWrite>(
    context: &SslContext,
    stream: S,
) -> Result<SslStream<S>, ErrorStack> {
    SslStream::new(Ssl::new(context)?, stream)
}

/// Why a handshake failed, in the words of the kinds of [`io::Error`] that rustls' edge uses.
fn why(error: openssl::ssl::Error) -> io::Error {
    if error.code() == ErrorCode::ZERO_RETURN {
        return io::ErrorKind::UnexpectedEof.into();
    }
    match error.into_io_error() {
        Ok(error) => error,
        Err(error) => sorted(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    context: &SslContext,
    carrier: S,
) -> Result<TlsStream<S>, Failed<S>> {
    // It only fails for lack of memory.
    let mut stream = stream(context, carrier).expect("OpenSSL makes a session");
    match Pin::new(&mut stream).accept().await {
        Ok(()) => Ok(TlsStream::psk(stream)),
        Err(error) => Err(Failed::psk(why(error), stream)),
    }
}

pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    context: &SslContext,
    carrier: S,
) -> Result<TlsStream<S>, Failed<S>> {
    // It only fails for lack of memory.
    let mut stream = stream(context, carrier).expect("OpenSSL makes a session");
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(TlsStream::psk(stream)),
        Err(error) => Err(Failed::psk(why(error), stream)),
    }
}
