//! What a session needs to know of its server.

use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::export::Exports;
use crate::tls::Acceptor;

/// Which TLS a server wants (section "Server-side requirements"); without any it is in NOTLS mode.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// For whom.
    pub mode: TlsMode,
    /// How.
    pub acceptor: Acceptor,
}

/// For whom TLS is a must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// SELECTIVETLS: for those who want an export that is TLS-only.
    Selective,
    /// FORCEDTLS: for everybody.
    Forced,
}

/// How much a server puts up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more are closed without a greeting.
    pub connections: usize,
    /// From the greeting to the end of haggling.
    pub handshake: Duration,
    /// Options of one session; one more closes it.
    pub options: u32,
    /// The data of an option that is kept and understood, in bytes.
    pub option_data: u32,
    /// The data of an option that is passed over, in bytes; more closes the session.
    pub option_skip: u32,
    /// The payload of a refused request that is passed over, in bytes; more closes the session.
    pub payload_skip: u64,
    /// Requests of one session that are served at once; more wait.
    pub in_flight: u32,
    /// Payload of one session in memory at once, in bytes; more waits.
    pub buffers: u64,
    /// How long a payload or a reply may make no progress.
    pub stall: Duration,
    /// How long a graceful shutdown waits for clients to leave, and then for requests to finish.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(30),
            options: 1000,
            option_data: 64 << 10,
            option_skip: 16 << 20,
            payload_skip: 64 << 20,
            in_flight: 64,
            buffers: 64 << 20,
            stall: Duration::from_secs(300),
            shutdown: Duration::from_secs(2),
        }
    }
}

/// Everything that a session needs to know of its server.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) exports: Exports,
    pub(crate) behaviour: Behaviour,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<ServerTls>,
}
