//! The reference server and client of NBD.
//!
//! They share nothing with the judge but the vocabulary of [`protocol`]: what they take the
//! specification to say is written here a second time, on purpose.
//!
//! ```
//! # async fn example() -> Result<(), reference_server::StartError> {
//! use reference_server::{Export, Server, store::MemoryStore};
//!
//! let server = Server::builder()
//!     .export(Export::new("", MemoryStore::new(16 << 20)))
//!     .tcp(([127, 0, 0, 1], 0).into())
//!     .start()
//!     .await?;
//! println!("{}", server.uris("")[0]);
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod behaviour;
mod besides;
mod bitmap;
mod check_request;
pub mod client;
mod client_fault;
mod client_quirk;
mod config;
mod connection;
mod context_options;
mod contexts;
mod distort;
mod distortion;
mod export;
mod fault;
mod features;
mod habits;
mod missteps;
mod negotiated;
mod negotiation;
mod outgoing;
mod overhear;
mod perform_request;
pub mod profile;
mod quirk;
mod ranges;
mod reply;
mod reply_writer;
mod rows;
mod server;
mod session_end;
mod socket_file;
pub mod spec;
pub mod store;
mod stream;
pub mod tls;
mod transmission;
mod wire;

pub use behaviour::Behaviour;
pub use bitmap::{BadBitmap, DEFAULT_GRANULARITY, DirtyBitmap};
pub use client_fault::ClientFault;
pub use client_quirk::ClientQuirk;
pub use config::{Limits, ServerTls, TlsMode};
pub use export::{BadExport, BlockSizes, Export};
pub use fault::Fault;
pub use features::{Features, Handshake, Replies};
pub use habits::Habits;
pub use overhear::{Close, Ear, EarMaker};
pub use profile::Profile;
pub use quirk::Quirk;
pub use rows::{UnknownFault, UnknownQuirk};
pub use server::{Builder, Event, Server, ServerHandle, StartError};
pub use session_end::Ending;
pub use socket_file::SocketFile;
pub use stream::Stream;
