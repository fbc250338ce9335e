//! What a session can count on: what the survey has found out about the server.

use protocol::values::{OptionType, ReplyType, TransmissionFlags};

use super::model::{Content, Model};
use super::session::{Form, Setting};
use crate::peer::KNOWN;
use crate::run::survey::{Capabilities, TlsMode};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How far content is known of an export that nobody here set up, in bytes.
const NEAR: u64 = 16 * MIB;
/// The size of the configuration `odd-size`, in bytes.
const ODD: u64 = 1_000_001;
/// No more payload than that is moved by one request, in bytes, whatever the server takes.
const MOST: u64 = 32 * MIB;

/// A server in a setting.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The setting.
    pub(super) setting: Setting,
    /// What the survey has found.
    pub(super) found: Capabilities,
    /// The harness started it.
    pub(super) owned: bool,
    /// Whoever described it knows how it gets into the setting: what it holds and where its holes are.
    pub(super) described: bool,
    /// It holds what scenarios know, or can be given it, or what it holds can be looked at.
    pub(super) content: bool,
    /// On how many connections it serves at once, as far as is known.
    pub(super) places: usize,
    /// It may be written to.
    pub(super) write: bool,
    /// What has endangered servers may be sent.
    pub(super) hazard: bool,
}

impl Facts {
    pub(super) fn has(&self, flag: TransmissionFlags) -> bool {
        self.found.flags.has(flag)
    }

    /// Whether the export may be changed.
    pub(super) fn is_writable(&self) -> bool {
        self.write && !self.has(TransmissionFlags::READ_ONLY)
    }

    /// The end of the last whole block, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.found.limits().end()
    }

    pub(super) fn minimum(&self) -> u64 {
        self.found.minimum().max(1)
    }

    /// The largest payload of a request, in bytes: a multiple of the minimum.
    pub(super) fn maximum(&self) -> u64 {
        let most = self.found.maximum().min(MOST);
        (most - most % self.minimum()).max(self.minimum())
    }

    /// A length that every request may have.
    pub(super) fn block(&self) -> u64 {
        self.found.block()
    }

    /// Whether an option is served, as far as the server said.
    pub(super) fn refuses(&self, option: OptionType) -> bool {
        self.found.options.get(&option) == Some(&ReplyType::ERR_UNSUP)
    }

    /// The best form of replies that the server has, up to the wanted one.
    pub(super) fn form(&self, wanted: Form) -> Form {
        let (structured, extended) = (
            self.found.offers(OptionType::STRUCTURED_REPLY),
            self.found.offers(OptionType::EXTENDED_HEADERS),
        );
        match wanted {
            Form::Extended if extended => Form::Extended,
            Form::Extended | Form::Structured if structured => Form::Structured,
            _ => Form::Simple,
        }
    }

    /// The metadata contexts that can be named in a script, the ones that the setting is about first.
    pub(super) fn contexts(&self) -> Vec<&str> {
        let names = self.found.contexts.iter();
        let names = names.filter_map(|name| str::from_utf8(name.as_bytes()).ok());
        let mut names: Vec<&str> = names.filter(|name| is_plain(name)).collect();
        let about = match self.setting {
            Setting::Bitmap => "qemu:dirty-bitmap:",
            Setting::Backing => "qemu:allocation-depth",
            _ => "base:allocation",
        };
        names.sort_by_key(|name| !name.starts_with(about));
        names
    }

    /// Whether TLS is a must.
    pub(super) fn forces_tls(&self) -> bool {
        self.found.tls == TlsMode::Forced
    }

    /// What the export holds when a session begins.
    pub(super) fn model(&self) -> Model {
        let known = match self.owned {
            true => self.found.size,
            false => self.found.size.min(NEAR),
        };
        // Some round an odd size up, and fill it with zeroes.
        let known = match self.setting {
            Setting::OddSize => known.min(ODD),
            _ => known,
        };
        let places = KNOWN.map(|(seed, at, length)| (Content::Place(seed), at, length));
        match self.setting {
            Setting::Bitmap if self.described => Model::new(known, &BITMAP),
            Setting::Backing if self.described => Model::new(known, &BACKING),
            Setting::Bitmap | Setting::Backing => Model::unknown(known),
            _ if !self.content => Model::unknown(known),
            _ => Model::new(known, &places),
        }
    }
}

/// What the configuration `bitmap` holds: see `harness/peers/README.md`.
const BITMAP: [(Content, u64, u64); 4] = [
    (Content::Fill(0x11), 0, MIB),
    (Content::Fill(0x22), 8 * MIB, 64 * KIB),
    (Content::Fill(0x33), 4 * MIB, 64 * KIB),
    (Content::Fill(0x33), 12 * MIB, 256 * KIB),
];

/// What is dirty there, in offset and length in bytes.
pub(super) const DIRTY: [(u64, u64); 2] = [(4 * MIB, 64 * KIB), (12 * MIB, 256 * KIB)];

/// What the configuration `backing` holds: the layer behind, then the one in front.
const BACKING: [(Content, u64, u64); 4] = [
    (Content::Fill(0x11), 0, MIB),
    (Content::Fill(0x22), 8 * MIB, 64 * KIB),
    (Content::Fill(0x33), 512 * KIB, 64 * KIB),
    (Content::Fill(0x44), 12 * MIB, 256 * KIB),
];

/// In which layer it is: offset and length in bytes, and depth.
pub(super) const DEPTHS: [(u64, u64, u64); 5] = [
    (0, 512 * KIB, 2),
    (512 * KIB, 64 * KIB, 1),
    (576 * KIB, 448 * KIB, 2),
    (8 * MIB, 64 * KIB, 2),
    (12 * MIB, 256 * KIB, 1),
];

/// Whether a name can stand in quotes as it is.
fn is_plain(name: &str) -> bool {
    name.len() <= 256
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
