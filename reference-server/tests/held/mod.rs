//! A session of which all that the client says is known beforehand.

use reference_server::{Ending, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a server says to some bytes and the end of the stream, and how the session ends.
pub(crate) async fn hold(server: Server, bytes: &[u8]) -> (Vec<u8>, Ending) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let serving = tokio::spawn(async move { server.serve_stream(theirs).await });
    let (mut reader, mut writer) = tokio::io::split(ours);
    let sending = async {
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut answer));
    read.unwrap();
    (answer, serving.await.unwrap())
}
