//! One connection: passes the bytes of both sides on as they come.

use dissector::session::Close;
use protocol::message::Side;

use super::end::End;
use super::queue::{Queue, What};

/// The connection was broken off by this side.
struct Broken(Side);

/// What hears a connection.
struct Ear<'a> {
    queue: &'a Queue,
    connection: u64,
}

impl Ear<'_> {
    fn closed(&self, from: Side, lost: u64, how: Close) {
        self.queue.tell(self.connection, What::Closed { from, lost, how });
    }
}

/// Passes everything on until both sides have ended, or one breaks the connection off: that is passed
/// on too.
pub(super) async fn pass(connection: u64, client: End, server: End, queue: &Queue) {
    let ear = Ear { queue, connection };
    let both = async {
        tokio::try_join!(
            one_way(Side::Client, &client, &server, &ear),
            one_way(Side::Server, &server, &client, &ear),
        )
    };
    let ended = both.await;
    if let Err(Broken(side)) = ended {
        ear.closed(side, 0, Close::Reset);
        match side {
            Side::Client => server.reset(),
            Side::Server => client.reset(),
        }
    }
}

/// Passes on what one side says until it ends.
async fn one_way(from: Side, source: &End, sink: &End, ear: &Ear<'_>) -> Result<(), Broken> {
    let mut lost = 0;
    let queue = ear.queue;
    loop {
        // A buffer is only held while there is something to read: connections may be many.
        source.readable().await.map_err(|_| Broken(from))?;
        let mut buffer = queue.buffer();
        let length = match source.try_read(&mut buffer) {
            Ok(length) => length,
            Err(error) => {
                queue.give_back(buffer);
                match error.kind() {
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => continue,
                    _ => return Err(Broken(from)),
                }
            }
        };
        if length == 0 {
            queue.give_back(buffer);
            ear.closed(from, lost, Close::End);
            sink.end_writing();
            return Ok(());
        }
        let piece = queue.piece(buffer, length);
        // Before it is passed on: an answer must not be heard before its question.
        queue.data(ear.connection, from, &mut lost, &piece);
        // Whoever does not take it any more has gone.
        sink.write_all(&piece).await.map_err(|_| Broken(from.other()))?;
    }
}
