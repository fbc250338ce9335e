//! A small lawful server with one export of a MiB, which does what a test wants in its own way.

use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::peer::Address;

pub(super) const SIZE: usize = 1 << 20;

/// How an option is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// As a plain server does.
    Lawfully,
    /// With this reply.
    Reply(u32),
    Close,
    Silently,
}

/// What becomes of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Keeps,
    /// Zeroes, whatever was written.
    Null,
    /// Each connection has its own.
    Private,
    /// Each read gives something else.
    Changes,
    /// Reads fail with this error.
    Fails(u32),
    /// Writes fail with this error.
    Full(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Small {
    pub option: fn(u32) -> Act,
    pub device: Device,
    /// How many are served at once; others are not greeted.
    pub places: usize,
    /// How many sessions are served in all.
    pub sessions: usize,
}

impl Default for Small {
    fn default() -> Self {
        let (places, sessions) = (100, usize::MAX);
        Self { option: |_| Act::Lawfully, device: Device::Keeps, places, sessions }
    }
}

impl Small {
    pub(super) async fn start(self) -> (Address, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let store = Arc::new(Mutex::new(vec![0; SIZE]));
        let places = Arc::new(Semaphore::new(self.places));
        let server = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..self.sessions {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (store, places) = (store.clone(), places.clone());
                tasks.spawn(async move {
                    let _place = places.acquire().await;
                    // The client hung up.
                    let _ = self.serve(stream, store).await;
                });
            }
            drop(listener);
            while tasks.join_next().await.is_some() {}
        });
        (address, server)
    }

    async fn serve(self, mut stream: TcpStream, store: Arc<Mutex<Vec<u8>>>) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.write_all(b"NBDMAGICIHAVEOPT\0\x03").await?;
        stream.read_u32().await?;
        loop {
            stream.read_u64().await?;
            let (option, length) = (stream.read_u32().await?, stream.read_u32().await?);
            let mut data = vec![0; length as usize];
            stream.read_exact(&mut data).await?;
            match (self.option)(option) {
                Act::Close => return Ok(()),
                Act::Silently => continue,
                Act::Reply(kind) => reply(&mut stream, option, kind, &[]).await?,
                Act::Lawfully => match option {
                    1 => {
                        stream.write_all(&export_info()).await?;
                        break;
                    }
                    2 => return reply(&mut stream, option, 1, &[]).await,
                    3 => {
                        reply(&mut stream, option, 2, b"\0\0\0\x04disk").await?;
                        reply(&mut stream, option, 1, &[]).await?;
                    }
                    6 | 7 => {
                        let info = [&[0, 0], export_info().as_slice()].concat();
                        reply(&mut stream, option, 3, &info).await?;
                        reply(&mut stream, option, 1, &[]).await?;
                        if option == 7 {
                            break;
                        }
                    }
                    _ => reply(&mut stream, option, (1 << 31) | 1, &[]).await?,
                },
            }
        }
        let private = Arc::new(Mutex::new(vec![0; SIZE]));
        self.transmit(stream, if self.device == Device::Private { private } else { store }).await
    }

    async fn transmit(
        self,
        mut stream: TcpStream,
        store: Arc<Mutex<Vec<u8>>>,
    ) -> std::io::Result<()> {
        for round in 0.. {
            let (_, _, command) =
                (stream.read_u32().await?, stream.read_u16().await?, stream.read_u16().await?);
            let (cookie, offset, length) =
                (stream.read_u64().await?, stream.read_u64().await?, stream.read_u32().await?);
            let range = offset as usize..offset as usize + length as usize;
            let (mut error, mut data) = (0, Vec::new());
            match (command, self.device) {
                (2, _) => return Ok(()),
                (0, Device::Fails(wrong)) => error = wrong,
                (0, Device::Null) => data = vec![0; range.len()],
                (0, Device::Changes) => data = vec![round as u8; range.len()],
                (0, _) => data = store.lock().unwrap()[range].to_vec(),
                (1, device) => {
                    let mut bytes = vec![0; range.len()];
                    stream.read_exact(&mut bytes).await?;
                    match device {
                        Device::Full(wrong) => error = wrong,
                        _ => store.lock().unwrap()[range].copy_from_slice(&bytes),
                    }
                }
                _ => {}
            }
            let mut answer = 0x6744_6698_u32.to_be_bytes().to_vec();
            answer.extend(error.to_be_bytes());
            answer.extend(cookie.to_be_bytes());
            answer.extend(data);
            stream.write_all(&answer).await?;
        }
        Ok(())
    }
}

/// Size, and the flags HAS_FLAGS and SEND_FLUSH; NO_ZEROES was agreed.
fn export_info() -> Vec<u8> {
    let mut info = (SIZE as u64).to_be_bytes().to_vec();
    info.extend([0, 0b101]);
    info
}

async fn reply(stream: &mut TcpStream, option: u32, kind: u32, data: &[u8]) -> std::io::Result<()> {
    let mut message = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    message.extend(option.to_be_bytes());
    message.extend(kind.to_be_bytes());
    message.extend((data.len() as u32).to_be_bytes());
    message.extend(data);
    stream.write_all(&message).await
}
