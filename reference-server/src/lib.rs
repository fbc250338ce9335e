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

mod agreed;
mod bitmap;
pub mod client;
mod config;
mod connection;
mod contexts;
mod ear;
mod ending;
mod export;
mod fault;
mod manners;
mod negotiation;
mod parts;
pub mod profile;
mod ranges;
mod reply;
mod server;
pub mod spec;
pub mod store;
mod terms;
pub mod tls;
mod wire;

pub use bitmap::{DEFAULT_GRANULARITY, DirtyBitmap};
pub use config::{Features, Handshake, Limits, Replies, ServerTls, TlsMode};
pub use connection::Stream;
pub use ear::{Close, Ear, EarMaker};
pub use ending::Ending;
pub use export::{BadExport, BlockSizes, Export};
pub use fault::{Fault, UnknownFault};
pub use manners::{Manners, MultiConn};
pub use profile::Profile;
pub use server::{Builder, Event, Server, ServerHandle, StartError};
