//! The reference client: haggling, then requests, many at once, with strict checks of what the
//! server sends.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use reference_server::client::{Client, Options};
//!
//! let client = Client::connect(&"nbd://localhost/disk".parse()?, &Options::default()).await?;
//! let first = client.read(0, 512).await?;
//! client.write(512, &first).await?;
//! client.flush().await?;
//! client.disconnect().await?;
//! # Ok(())
//! # }
//! ```

mod assembly;
mod connect;
mod context;
mod distort;
mod error;
mod extents;
mod haggling;
mod leniency;
mod operations;
mod options;
mod request;
mod status;
mod transmission;
mod upgrade;

pub use context::MetaContext;
pub use error::{ClientError, Violation};
pub use haggling::{Haggling, ListedExport};
pub use options::{Details, Options, Tls};
pub use request::Call;
pub use transmission::Client;
