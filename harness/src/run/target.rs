//! What is under test, and how the harness gets hold of it in a wanted configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::payload::place;
use protocol::values::DEFAULT_MAXIMUM_PAYLOAD;
use reference_server::store::{MemoryStore, Store};
use reference_server::{
    BlockSizes, Builder, DirtyBitmap, Export, Fault, Features, Handshake, Profile, Quirk, Server,
    ServerHandle,
};

use tempfile::TempDir;

use super::stores::{Failing, Slow};

use super::secured::Wanted;
use crate::peer::{
    Address, KNOWN, PeerFile, Running, StartError, StartOptions, Tls, Transport, greet,
};
use crate::script::ast::TlsKind;
use crate::tls::Security;

/// A server under test.
#[derive(Debug, Clone)]
pub enum Target {
    /// A server that somebody else runs, and whose data is somebody else's.
    External {
        /// As the user wrote it.
        name: String,
        /// Where it listens.
        address: Address,
        /// The export under test; `None` for the default one.
        export: Option<String>,
        /// What there is for TLS with it.
        security: Option<Box<Security>>,
        /// Everything is to go through TLS (`nbds`).
        insists: bool,
    },
    /// The reference server, in this process.
    Reference {
        /// What it does that few do.
        quirks: Vec<Quirk>,
        /// What it does wrong on purpose.
        fault: Option<Fault>,
    },
    /// The reference server as a release of qemu, in this process.
    Profile(&'static Profile),
    /// A program that the harness starts.
    Peer(Box<PeerFile>),
}

/// A server that runs.
pub struct Instance {
    /// Where it listens.
    pub address: Address,
    /// The export under test; `None` to try the default one and the first that is listed.
    pub export: Option<String>,
    /// Whether the harness started it.
    pub owned: bool,
    /// Whether somebody who knows the server has described how it gets into the configuration.
    /// Otherwise it may be in another, as what it offers shows.
    pub described: bool,
    /// Whether it holds what the configuration says.
    pub content: bool,
    /// Whether that is because it was given an image.
    pub image: bool,
    /// What there is for TLS with it.
    pub security: Option<Security>,
    held: Held,
}

enum Held {
    Nothing,
    Reference { _handle: ServerHandle, _folder: Option<TempDir> },
    Peer(Box<Running>),
}

/// How a server is to be reached, where its configuration leaves that open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// What carries the bytes.
    pub transport: Transport,
    /// What protects them.
    pub tls: Option<TlsKind>,
}

/// Why there is no server in the wanted configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// It can't be had with this target.
    NotPossible(String),
    /// It should have worked.
    Failed(String),
    /// The server answered for a while, and then no more.
    Stopped(String),
}

impl Unavailable {
    /// Why, in words.
    #[must_use]
    pub fn into_reason(self) -> String {
        match self {
            Self::NotPossible(reason) | Self::Failed(reason) | Self::Stopped(reason) => reason,
        }
    }
}

impl Access {
    /// Whether a server that somebody else runs can be reached so.
    fn of_external(self) -> Result<(), String> {
        match (self.transport, self.tls) {
            (Transport::Tcp, None) => Ok(()),
            _ => Err("how the target is reached is given: this form can't be had".to_owned()),
        }
    }
}

impl Target {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::External { name, .. } => name,
            Self::Reference { .. } => "self",
            Self::Profile(profile) => profile.peer(),
            Self::Peer(file) => file.name(),
        }
    }

    /// The release that the reference server is to be like.
    fn profile(&self) -> Option<&'static Profile> {
        match self {
            Self::Profile(profile) => Some(profile),
            _ => None,
        }
    }

    /// The reference server, which keeps to the rules.
    #[must_use]
    pub const fn reference() -> Self {
        Self::Reference { quirks: Vec::new(), fault: None }
    }

    /// The reference server with a deliberate fault.
    #[must_use]
    pub const fn faulty(fault: Fault) -> Self {
        Self::Reference { quirks: Vec::new(), fault: Some(fault) }
    }

    /// The reference server with quirks.
    #[must_use]
    pub const fn quirky(quirks: Vec<Quirk>) -> Self {
        Self::Reference { quirks, fault: None }
    }

    /// Whether the harness starts it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        !matches!(self, Self::External { .. })
    }

    /// Whether it gets into a configuration because somebody who knows it has described how.
    #[must_use]
    pub fn is_described(&self) -> bool {
        match self {
            Self::External { .. } => false,
            Self::Reference { .. } | Self::Profile(_) => true,
            Self::Peer(file) => file.command().is_none(),
        }
    }

    /// The configuration to start it in for a scenario that wants `configuration`: where a command
    /// has no placeholder for it, the server may be like that of itself.
    #[must_use]
    pub fn given<'c>(&self, configuration: &'c str) -> &'c str {
        match self {
            Self::Peer(file) if file.command().is_some() => {
                let is_tls = Wanted::of(configuration).1.is_some();
                let given = is_tls || self.not_given(configuration).is_none();
                if given { configuration } else { "default" }
            }
            _ => configuration,
        }
    }

    /// Why a command can't start the server as a scenario wants it, if it can't.
    #[must_use]
    pub fn not_given(&self, configuration: &str) -> Option<String> {
        match self {
            Self::Peer(file) if file.command().is_some() => {
                file.supports(Wanted::of(configuration).0).err()
            }
            _ => None,
        }
    }

    /// The version that it tells, if it does.
    pub async fn version(&self) -> Option<String> {
        match self {
            Self::External { .. } => None,
            Self::Reference { .. } | Self::Profile(_) => Some(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Peer(file) => file.version().await.ok(),
        }
    }

    /// Whether everything is to go through TLS.
    #[must_use]
    pub fn insists_on_tls(&self) -> bool {
        matches!(self, Self::External { insists: true, .. })
    }

    /// Whether a configuration can be had at all.
    ///
    /// # Errors
    /// The reason why not.
    pub fn supports(&self, configuration: &str, access: Access) -> Result<(), String> {
        let (base, tls) = Wanted::of(configuration);
        match self {
            // How it is set up, its exports tell.
            Self::External { .. } => match tls {
                Some(_) => Ok(()),
                None => access.of_external(),
            },
            Self::Reference { .. } | Self::Profile(_) => {
                configure(base, self.profile()).map(|_| ())
            }
            Self::Peer(file) => {
                // What a command has no placeholder for, the server may be of itself.
                if file.command().is_none() {
                    file.supports(base)?;
                }
                let tls = tls.or(access.tls.map(Wanted::forced));
                let tls = tls.map(|tls| tls.of_peer(PathBuf::new())).unwrap_or_default();
                file.can_be_reached(&StartOptions {
                    transport: access.transport,
                    tls,
                    parent: None,
                })
            }
        }
    }

    /// A server in a configuration.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn start(
        &self,
        configuration: &str,
        access: Access,
    ) -> Result<Instance, Unavailable> {
        let (base, tls) = Wanted::of(configuration);
        let tls = tls.or(access.tls.map(Wanted::forced));
        let made = || {
            let made = tls.map(|tls| Security::made(tls.kind)).transpose();
            made.map_err(Unavailable::NotPossible)
        };
        match self {
            Self::External { address, export, security, .. } => Ok(Instance {
                address: address.clone(),
                export: export.clone(),
                owned: false,
                described: false,
                content: false,
                image: false,
                security: security.as_deref().cloned(),
                held: Held::Nothing,
            }),
            Self::Reference { .. } | Self::Profile(_) => {
                self.start_reference(base, tls, made()?, access.transport).await
            }
            Self::Peer(file) => {
                let security = made()?;
                let tls = match (tls, &security) {
                    (Some(tls), Some(security)) => tls.of_peer(security.folder().to_owned()),
                    _ => Tls::Off,
                };
                let reached = StartOptions { transport: access.transport, tls, parent: None };
                match file.start_with(base, &reached).await {
                    Ok(running) => Ok(Instance {
                        address: running.address().clone(),
                        export: running.export_name().map(str::to_owned),
                        owned: true,
                        described: file.command().is_none(),
                        content: running.content().is_some() || file.command().is_none(),
                        image: running.content().is_some(),
                        security,
                        held: Held::Peer(Box::new(running)),
                    }),
                    Err(StartError::Unsupported(reason)) => Err(Unavailable::NotPossible(reason)),
                    Err(error) => Err(Unavailable::Failed(error.to_string())),
                }
            }
        }
    }

    /// The reference server, as itself or as a release of qemu.
    async fn start_reference(
        &self,
        base: &str,
        tls: Option<Wanted>,
        security: Option<Security>,
        transport: Transport,
    ) -> Result<Instance, Unavailable> {
        let (builder, export) =
            configure(base, self.profile()).map_err(Unavailable::NotPossible)?;
        let server = match (tls, &security) {
            (Some(tls), Some(security)) => {
                Some(tls.of_reference(security).map_err(Unavailable::NotPossible)?)
            }
            _ => None,
        };
        let builder = match self {
            Self::Reference { quirks, fault } => {
                builder.quirks(quirks.iter().copied()).fault(*fault)
            }
            _ => builder,
        };
        let builder = builder.tls(server);
        let failed = |error: String| Unavailable::Failed(error);
        let (address, handle, folder) = if transport == Transport::Unix {
            let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
            let path = folder.path().join("s");
            let handle = builder.unix(&path).start().await.map_err(unavailable)?;
            (Address::Unix(path), handle, Some(folder))
        } else {
            let handle = builder.tcp(([127, 0, 0, 1], 0).into()).start().await;
            let handle = handle.map_err(unavailable)?;
            let address = handle.tcp_address().ok_or_else(|| failed("no address".to_owned()))?;
            (address.into(), handle, None)
        };
        Ok(Instance {
            address,
            export: Some(export.to_owned()),
            owned: true,
            described: true,
            content: true,
            image: false,
            security,
            held: Held::Reference { _handle: handle, _folder: folder },
        })
    }
}

/// Why the reference server did not start.
fn unavailable(error: reference_server::StartError) -> Unavailable {
    use reference_server::StartError as E;
    match error {
        E::NoPsk(_) | E::NoTlsOverUnix(_) => Unavailable::NotPossible(error.to_string()),
        error => Unavailable::Failed(error.to_string()),
    }
}

impl Instance {
    /// How the server's process ended, if it did, and what it said last.
    #[must_use]
    pub fn died(&mut self) -> Option<String> {
        let Held::Peer(running) = &mut self.held else { return None };
        let status = running.exit_status()?;
        let tail = running.stderr_tail();
        let said = tail.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
        Some(format!("the server's process ended ({status}){said}"))
    }

    /// The same, and waits for the end at most `limit`.
    pub async fn dies_within(&mut self, limit: Duration) -> Option<String> {
        if let Held::Peer(running) = &mut self.held {
            running.ends_within(limit).await?;
        }
        self.died()
    }

    /// The last that the server said, in lines for the report.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        const LINES: usize = 6;
        let Held::Peer(running) = &self.held else { return Vec::new() };
        let tail = running.stderr_tail();
        let lines: Vec<&str> = tail.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| format!("-- the server said: {line}")).collect()
    }

    /// Why a server that the harness started is of no use, if it has ended by itself after its first
    /// sessions, and whether it has ended well; where `patient`, it gets a moment to end.
    pub async fn ended_early(&mut self, patient: bool) -> Option<(String, bool)> {
        let Held::Peer(running) = &mut self.held else { return None };
        let (error, well) = running.ended_early(patient).await?;
        Some((error.to_string(), well))
    }

    /// Whether a fresh connection is greeted.
    ///
    /// # Errors
    /// What happened instead.
    pub async fn answers(&self, limit: Duration) -> Result<(), String> {
        match greet(&self.address, limit).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a fresh connection gets no greeting: {error}")),
        }
    }

    /// Ends a server that the harness started.
    pub async fn stop(self) {
        if let Held::Peer(running) = self.held {
            running.stop().await;
        }
    }
}

const MIB: u64 = 1 << 20;

/// The reference server in a configuration, and the name of the export under test.
fn configure(
    configuration: &str,
    profile: Option<&'static Profile>,
) -> Result<(Builder, &'static str), String> {
    if let Some(profile) = profile {
        lacks(profile, configuration)?;
    }
    let export = |store: MemoryStore| {
        Export::new("disk", store).with_description("a disk to test with").with_multi_conn(true)
    };
    let builder = match profile {
        Some(profile) => Server::builder().profile(profile),
        None => Server::builder(),
    };
    let with_features = |change: fn(&mut Features)| {
        let mut features = profile.map_or_else(Features::default, |it| it.behaviour().features);
        change(&mut features);
        builder.clone().export(export(known(16 * MIB))).features(features)
    };
    let (name, value) = match configuration.split_once('-') {
        Some((name @ ("size" | "block"), value)) => (name, Some(value)),
        _ => (configuration, None),
    };
    let builder = match (name, value) {
        ("default" | "multi-conn", None) => builder.export(export(known(16 * MIB))),
        ("blank", None) => builder.export(export(MemoryStore::new(16 * MIB))),
        ("read-only", None) => builder.export(export(known(16 * MIB)).with_read_only(true)),
        ("single-conn", None) => builder.export(export(known(16 * MIB)).with_multi_conn(false)),
        ("odd-size", None) => builder.export(export(known(1_000_001))),
        ("large", None) => builder.export(export(known(9 << 30))),
        ("size", Some(size)) => {
            let size = size.parse().map_err(|_| format!("`{size}` is not a size in bytes"))?;
            builder.export(export(known(size)))
        }
        ("block", Some(minimum)) => {
            let minimum: u32 =
                minimum.parse().map_err(|_| format!("`{minimum}` is not a block size"))?;
            let sizes = BlockSizes::new(minimum, minimum.max(4096), DEFAULT_MAXIMUM_PAYLOAD)
                .map_err(|error| error.to_string())?;
            builder.export(export(known(16 * MIB)).with_block_sizes(sizes))
        }
        ("many", None) => builder
            .export(export(known(16 * MIB)))
            .export(Export::new("beta", MemoryStore::new(MIB)).with_description("another disk"))
            .export(Export::new("gamma", MemoryStore::new(MIB)).with_read_only(true))
            .export(Export::new("drei €", MemoryStore::new(511))),
        // Who asks without TLS gets the first, and only inside TLS the second.
        ("tls-only", None) => builder
            .export(export(known(16 * MIB)))
            .export(Export::new("secret", MemoryStore::new(MIB)).with_tls_only(true)),
        ("no-list", None) => with_features(|features| features.list = false),
        ("oldstyle", None) => with_features(|features| features.handshake = Handshake::Oldstyle),
        ("newstyle", None) => with_features(|features| features.handshake = Handshake::Newstyle),
        ("no-structured", None) => with_features(|features| {
            features.structured_reply = false;
            features.extended_headers = false;
        }),
        ("no-zeroes", None) => with_features(|features| features.write_zeroes = false),
        ("no-fast-zero", None) => with_features(|features| features.fast_zero = false),
        ("no-cache", None) => with_features(|features| features.cache = false),
        ("errors", None) => {
            builder.export(Export::new("disk", Failing(known(16 * MIB))).with_read_only(true))
        }
        ("slow", None) => builder.export(Export::new("disk", Slow(known(16 * MIB)))),
        ("backing", None) => builder.export(layered()?),
        ("bitmap", None) => builder.export(with_bitmaps()?),
        _ => return Err(format!("the reference server has no configuration `{configuration}`")),
    };
    // The servers of qemu have no default export but one with the empty name.
    let default =
        if profile.is_some() && configuration != "oldstyle" { None } else { Some("disk") };
    Ok((default.into_iter().fold(builder, Builder::default_export), "disk"))
}

/// Configurations that a release can't be brought into.
fn lacks(profile: &Profile, configuration: &str) -> Result<(), String> {
    let behaviour = profile.behaviour();
    let features = &behaviour.features;
    let reason = match configuration {
        "no-list" => "it always answers NBD_OPT_LIST",
        "newstyle" => "it is always fixed newstyle",
        "no-structured" if features.structured_reply => "it can't turn structured replies off",
        "oldstyle" if !behaviour.oldstyle_without_name => "it is newstyle only",
        "bitmap" if !features.dirty_bitmaps => "it exports no dirty bitmaps",
        _ => return Ok(()),
    };
    Err(format!("not possible with {profile}: {reason}"))
}

/// What is allocated before and after the bitmaps of the configuration `bitmap` are enabled:
/// offset, length, byte.
const BEFORE: [(u64, u64, u8); 2] = [(0, MIB, 0x11), (8 * MIB, 64 << 10, 0x22)];
const AFTER: [(u64, u64, u8); 2] = [(4 * MIB, 64 << 10, 0x33), (12 * MIB, 256 << 10, 0x33)];

/// The same content and bitmaps as in `harness/peers/qemu-nbd.toml`.
fn with_bitmaps() -> Result<Export, String> {
    let store = MemoryStore::new(16 * MIB);
    let bitmap =
        |name, granularity| DirtyBitmap::new(name, granularity).map_err(|error| error.to_string());
    let bitmaps = [bitmap("bm0", 64 << 10)?, bitmap("bm1", 128 << 10)?];
    for (offset, length, byte) in BEFORE.into_iter().chain(AFTER) {
        let bytes = vec![byte; length as usize];
        store.write(offset, &bytes).map_err(|error| error.to_string())?;
    }
    for (offset, length, _) in AFTER {
        bitmaps.iter().for_each(|bitmap| bitmap.mark(offset, length));
    }
    let export = Export::new("disk", store).with_description("a disk to test with");
    Ok(bitmaps.into_iter().fold(export, Export::with_bitmap))
}

/// What the layers of the configuration `backing` hold: offset, length, byte.
const BEHIND: [(u64, u64, u8); 2] = BEFORE;
const IN_FRONT: [(u64, u64, u8); 2] = [(512 << 10, 64 << 10, 0x33), (12 * MIB, 256 << 10, 0x44)];

/// The same layers as in `harness/peers/qemu-nbd.toml`.
fn layered() -> Result<Export, String> {
    let fill = |store: &MemoryStore, stretches: [(u64, u64, u8); 2]| {
        stretches.into_iter().try_for_each(|(offset, length, byte)| {
            let bytes = vec![byte; length as usize];
            store.write(offset, &bytes).map_err(|error| error.to_string())
        })
    };
    let base = MemoryStore::new(16 * MIB);
    fill(&base, BEHIND)?;
    let front = MemoryStore::over(16 * MIB, Arc::new(base));
    fill(&front, IN_FRONT)?;
    Ok(Export::new("disk", front).with_description("a disk to test with"))
}

/// A store with the content that scenarios know.
fn known(size: u64) -> MemoryStore {
    let store = MemoryStore::new(size);
    for (seed, offset, length) in KNOWN {
        let length = length.min(size.saturating_sub(offset));
        let mut bytes = vec![0; length as usize];
        place(seed, offset, &mut bytes);
        if length > 0 {
            // Memory of this process: it can only fail beyond the limit of gigabytes.
            let _ = store.write(offset, &bytes);
        }
    }
    store
}
