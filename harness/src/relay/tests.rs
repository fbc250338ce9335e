//! Relays between sockets of this process.

use std::time::Duration;

use dissector::session::Close;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A relay at work, and what ends it.
struct Running {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    queue: Arc<Queue>,
    address: Address,
}

impl Running {
    async fn start(relay: Relay, server: Address, sessions: Option<u64>) -> Self {
        let address = relay.address().clone();
        let queue = Arc::new(Queue::new(1 << 20));
        let (stop, stopped) = oneshot::channel();
        let hearing = Hearing { queue: queue.clone(), tell: Arc::new(|_| ()) };
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move {
            relay.run(server, sessions, hearing, stopped, std::future::pending()).await;
        });
        Self { task, stop, queue, address }
    }

    async fn connect(&self) -> TcpStream {
        match self.address.connect(Duration::from_secs(10)).await.unwrap() {
            crate::socket::Socket::Tcp(stream) => stream,
            other => panic!("{other:?}"),
        }
    }

    /// Ends it; what was heard, a word each.
    async fn end(self) -> Vec<String> {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        let mut told = Vec::new();
        while let Some(all) = self.queue.take(Duration::from_secs(10)) {
            for heard in all {
                told.push(word(&heard));
                self.queue.done(heard);
            }
        }
        told
    }
}

fn word(heard: &Heard) -> String {
    let number = heard.connection;
    match &heard.what {
        What::Opened { .. } => format!("{number} opened"),
        What::Data { from, bytes, .. } => {
            format!("{number} {} {}", from.name(), String::from_utf8_lossy(bytes))
        }
        What::Closed { from, how: Close::End, .. } => format!("{number} {} ends", from.name()),
        What::Closed { from, how: Close::Reset, .. } => format!("{number} {} resets", from.name()),
        What::Over => format!("{number} over"),
    }
}

async fn tcp_pair() -> (TcpListener, Relay, Address) {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let relay = Relay::tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = server.local_addr().unwrap().into();
    (server, relay, address)
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_direction_that_ends_leaves_the_other_one_open() {
    let (server, relay, address) = tcp_pair().await;
    let relay = Running::start(relay, address, None).await;
    let mut client = relay.connect().await;
    let (mut served, _) = server.accept().await.unwrap();
    client.write_all(b"ask").await.unwrap();
    assert_eq!(read(&mut served, 3).await, "ask");
    client.shutdown().await.unwrap();
    assert_eq!(served.read(&mut [0]).await.unwrap(), 0);
    served.write_all(b"answer").await.unwrap();
    assert_eq!(read(&mut client, 6).await, "answer");
    drop(served);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let told = ["1 opened", "1 client ask", "1 client ends", "1 server answer", "1 server ends"];
    assert_eq!(relay.end().await, [&told[..], &["1 over"]].concat());
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    for by_client in [true, false] {
        let (server, relay, address) = tcp_pair().await;
        let relay = Running::start(relay, address, None).await;
        let mut client = relay.connect().await;
        let (mut served, _) = server.accept().await.unwrap();
        // Before the connection is known to be one, a reset is a failure to connect.
        served.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut client, 1).await, "x");
        let (breaks, mut stays) = if by_client { (client, served) } else { (served, client) };
        breaks.set_zero_linger().unwrap();
        drop(breaks);
        let error = stays.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let name = if by_client { "client" } else { "server" };
        let resets = format!("1 {name} resets");
        assert_eq!(relay.end().await, ["1 opened", "1 server x", &resets, "1 over"]);
    }
}

#[tokio::test]
async fn whoever_takes_nothing_slows_the_other_side_down() {
    let (server, relay, address) = tcp_pair().await;
    let relay = Running::start(relay, address, None).await;
    let client = relay.connect().await;
    let (_served, _) = server.accept().await.unwrap();
    // More than all buffers on the way together; the relay itself keeps one piece.
    let mut written = 0;
    let piece = vec![7; 1 << 20];
    let waits = Duration::from_millis(200);
    while timeout(waits, client.writable()).await.is_ok() {
        match client.try_write(&piece) {
            Ok(count) => written += count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(written < 256 << 20, "it keeps everything");
    }
    // What a judge that takes nothing was not given is counted.
    let heard = relay.queue.left_out();
    assert!(heard.bytes > 0 && heard.bytes <= written as u64, "{heard:?}");
}

#[tokio::test]
async fn a_client_whose_server_is_not_there_is_turned_away() {
    let (server, relay, address) = tcp_pair().await;
    drop(server);
    let relay = Running::start(relay, address, Some(1)).await;
    let mut client = relay.connect().await;
    assert!(client.read(&mut [0]).await.is_err());
    assert!(relay.end().await.is_empty());
}

#[tokio::test]
async fn unix_sockets_are_relayed_until_so_many_connections_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let server = UnixListener::bind(&there).unwrap();
    let relay = Relay::unix(&here).await.unwrap();
    let relay = Running::start(relay, Address::Unix(there), Some(2)).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(UnixStream::connect(&here).await.unwrap());
    }
    for client in &mut clients {
        let (mut served, _) = server.accept().await.unwrap();
        served.write_all(b"x").await.unwrap();
        drop(served);
        let _ = client;
    }
    for mut client in clients {
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "x");
    }
    let Running { task, queue, stop: _stop, .. } = relay;
    task.await.unwrap();
    assert!(!here.exists());
    let all = queue.take(Duration::ZERO).unwrap();
    let over = all.iter().filter(|heard| matches!(heard.what, What::Over)).count();
    assert_eq!(over, 2);
    let opened = all.iter().filter_map(|heard| match heard.what {
        What::Opened { client, server } => Some((client.to_string(), server.to_string())),
        _ => None,
    });
    let mut opened: Vec<_> = opened.collect();
    opened.sort();
    let server = "127.0.0.1:10809".to_owned();
    let client = |port| format!("127.0.0.1:{port}");
    assert_eq!(opened, [(client(49153), server.clone()), (client(49154), server)]);
}

#[test]
fn made_up_addresses_do_not_repeat_soon() {
    assert_eq!(made_up(1).0.to_string(), "127.0.0.1:49153");
    assert_eq!(made_up(16384).0.to_string(), "127.0.0.2:49152");
    let many: std::collections::HashSet<_> = (1..100_000).map(made_up).collect();
    assert_eq!(many.len(), 99_999);
}
