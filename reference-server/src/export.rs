//! What is served: a store with a name and terms of use.

use std::fmt;
use std::sync::Arc;

use protocol::values::{DEFAULT_MAXIMUM_PAYLOAD, STRING_LIMIT};

use crate::bitmap::{BadBitmap, DirtyBitmap};
use crate::store::{PaddedStore, Store};

/// The size constraints of an export (section "Size constraints"), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    minimum: u32,
    preferred: u32,
    maximum: u32,
}

impl BlockSizes {
    /// Constraints that the specification allows.
    ///
    /// # Errors
    /// The first rule that the values break.
    pub fn new(minimum: u32, preferred: u32, maximum: u32) -> Result<Self, BadExport> {
        if !minimum.is_power_of_two() || minimum > 1 << 16 {
            return Err(BadExport::Minimum(minimum));
        }
        if !preferred.is_power_of_two() || preferred < minimum.max(512) {
            return Err(BadExport::Preferred { preferred, least: minimum.max(512) });
        }
        let unlimited = maximum == u32::MAX;
        if maximum < preferred || !(unlimited || maximum.is_multiple_of(minimum)) {
            return Err(BadExport::Maximum { maximum, preferred });
        }
        Ok(Self { minimum, preferred, maximum })
    }

    /// The unit of offsets and lengths.
    #[must_use]
    pub fn minimum(self) -> u32 {
        self.minimum
    }

    /// The unit that is efficient.
    #[must_use]
    pub fn preferred(self) -> u32 {
        self.preferred
    }

    /// The largest payload.
    #[must_use]
    pub fn maximum(self) -> u32 {
        self.maximum
    }
}

impl Default for BlockSizes {
    /// Those that hold where none are told: 1, 4096, 32 MiB.
    fn default() -> Self {
        Self { minimum: 1, preferred: 4096, maximum: DEFAULT_MAXIMUM_PAYLOAD }
    }
}

/// Why an export can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExport {
    /// The minimum block size breaks its rules.
    #[error("a minimum block size is a power of 2 up to 65536, not {0}")]
    Minimum(u32),
    /// The preferred block size breaks its rules.
    #[error("the preferred block size is a power of 2 and here at least {least}, not {preferred}")]
    Preferred {
        /// What was asked for.
        preferred: u32,
        /// What is allowed.
        least: u32,
    },
    /// The maximum payload breaks its rules.
    #[error(
        "the maximum payload is a multiple of the minimum block size and at least {preferred}, \
         the preferred block size, not {maximum}"
    )]
    Maximum {
        /// What was asked for.
        maximum: u32,
        /// The preferred block size.
        preferred: u32,
    },
    /// A maximum payload that this server does not serve.
    #[error("the maximum payload is here at most {DEFAULT_MAXIMUM_PAYLOAD} bytes, not {0}")]
    MaximumServed(u32),
    /// A name or description that the protocol can't carry.
    #[error("the {what} of an export is at most {STRING_LIMIT} bytes without a zero byte")]
    Text {
        /// `name` or `description`.
        what: &'static str,
    },
    /// A bitmap breaks its rules.
    #[error(transparent)]
    Bitmap(#[from] BadBitmap),
    /// Two bitmaps of one name.
    #[error("there are two dirty bitmaps named `{0}`")]
    BitmapTwice(String),
    /// Two exports of one name.
    #[error("there are two exports named `{0}`")]
    Twice(String),
    /// The default export is none of the exports.
    #[error("no export is named `{0}`, which should be the default")]
    NoDefault(String),
}

/// A store with a name and terms of use.
#[derive(Clone)]
pub struct Export {
    name: String,
    description: String,
    store: Arc<dyn Store>,
    read_only: bool,
    rotational: bool,
    multi_conn: bool,
    listed: bool,
    tls_only: bool,
    sizes: BlockSizes,
    block_size_required: bool,
    bitmaps: Vec<Arc<DirtyBitmap>>,
}

impl Export {
    /// A writable export without constraints. An empty name is that of the default export.
    #[must_use]
    pub fn new(name: impl Into<String>, store: impl Store + 'static) -> Self {
        Self::shared(name, Arc::new(store))
    }

    /// The same with a store that others may hold too.
    #[must_use]
    pub fn shared(name: impl Into<String>, store: Arc<dyn Store>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            store,
            read_only: false,
            rotational: false,
            multi_conn: true,
            listed: true,
            tls_only: false,
            sizes: BlockSizes::default(),
            block_size_required: false,
            bitmaps: Vec::new(),
        }
    }

    /// With a text for people.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Writable or not.
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// On a rotating medium or not.
    #[must_use]
    pub fn with_rotational(mut self, rotational: bool) -> Self {
        self.rotational = rotational;
        self
    }

    /// Whether to tell clients that they may use several connections; so by default.
    #[must_use]
    pub fn with_multi_conn(mut self, multi_conn: bool) -> Self {
        self.multi_conn = multi_conn;
        self
    }

    /// Whether a server in SELECTIVETLS mode serves it inside TLS only.
    #[must_use]
    pub fn with_tls_only(mut self, tls_only: bool) -> Self {
        self.tls_only = tls_only;
        self
    }

    /// Whether `NBD_OPT_LIST` names it; so by default.
    #[must_use]
    pub fn with_listed(mut self, listed: bool) -> Self {
        self.listed = listed;
        self
    }

    /// With size constraints, which are told to those who ask and always enforced.
    #[must_use]
    pub fn with_block_sizes(mut self, sizes: BlockSizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Whether clients that do not ask for the constraints are refused.
    #[must_use]
    pub fn with_block_size_required(mut self, required: bool) -> Self {
        self.block_size_required = required;
        self
    }

    /// With a dirty bitmap, which is kept as writes come.
    #[must_use]
    pub fn with_bitmap(mut self, bitmap: impl Into<Arc<DirtyBitmap>>) -> Self {
        self.bitmaps.push(bitmap.into());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text for people; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Where the bytes live.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The size in bytes: that of the store less what is no whole minimum block.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = self.store.size();
        size - size % u64::from(self.sizes.minimum)
    }

    /// Whether writing fails.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the medium rotates.
    #[must_use]
    pub fn is_rotational(&self) -> bool {
        self.rotational
    }

    /// Whether several connections see each other's flushed writes.
    #[must_use]
    pub fn is_multi_conn(&self) -> bool {
        self.multi_conn
    }

    /// Whether it is served inside TLS only.
    #[must_use]
    pub fn is_tls_only(&self) -> bool {
        self.tls_only
    }

    /// Whether `NBD_OPT_LIST` names it.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// The size constraints.
    #[must_use]
    pub fn block_sizes(&self) -> BlockSizes {
        self.sizes
    }

    /// Whether clients that do not ask for the constraints are refused.
    #[must_use]
    pub fn is_block_size_required(&self) -> bool {
        self.block_size_required
    }

    /// The dirty bitmaps.
    #[must_use]
    pub fn bitmaps(&self) -> &[Arc<DirtyBitmap>] {
        &self.bitmaps
    }

    /// The same with its size rounded up to a multiple of `unit` bytes.
    pub(crate) fn rounded_up(mut self, unit: u32) -> Self {
        if unit > 1 {
            self.store = PaddedStore::rounded_up(self.store, unit);
        }
        self
    }

    fn check(&self) -> Result<(), BadExport> {
        for (index, bitmap) in self.bitmaps.iter().enumerate() {
            if self.bitmaps[..index].iter().any(|other| other.name() == bitmap.name()) {
                return Err(BadExport::BitmapTwice(bitmap.name().to_owned()));
            }
        }
        for (what, text) in [("name", &self.name), ("description", &self.description)] {
            if text.len() > STRING_LIMIT || text.contains('\0') {
                return Err(BadExport::Text { what });
            }
        }
        let maximum = self.sizes.maximum;
        if maximum > DEFAULT_MAXIMUM_PAYLOAD {
            return Err(BadExport::MaximumServed(maximum));
        }
        Ok(())
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("name", &self.name)
            .field("size", &self.size())
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// The exports of a server, in the order in which they are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exports {
    all: Vec<Arc<Export>>,
    default: Option<String>,
}

impl Exports {
    pub(crate) fn new(all: Vec<Export>, default: Option<String>) -> Result<Self, BadExport> {
        for (index, export) in all.iter().enumerate() {
            export.check()?;
            if all[..index].iter().any(|other| other.name == export.name) {
                return Err(BadExport::Twice(export.name.clone()));
            }
        }
        if let Some(name) = &default
            && !all.iter().any(|export| export.name == *name)
        {
            return Err(BadExport::NoDefault(name.clone()));
        }
        Ok(Self { all: all.into_iter().map(Arc::new).collect(), default })
    }

    /// The export that a client means by `name`; the empty name is that of the default export.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Arc<Export>> {
        let exact = self.all.iter().find(|export| export.name.as_bytes() == name);
        match (exact, &self.default) {
            (None, Some(default)) if name.is_empty() => {
                self.all.iter().find(|export| export.name == *default)
            }
            _ => exact,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Export>> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn refuses_constraints_that_break_the_rules() {
        assert!(BlockSizes::new(1, 512, 1 << 20).is_ok());
        assert!(BlockSizes::new(3, 512, 1 << 20).is_err());
        assert!(BlockSizes::new(1 << 17, 1 << 17, 1 << 20).is_err());
        assert!(BlockSizes::new(4096, 512, 1 << 20).is_err());
        assert!(BlockSizes::new(1, 256, 1 << 20).is_err());
        insta::assert_snapshot!(
            BlockSizes::new(512, 4096, 2048).unwrap_err(),
            @"the maximum payload is a multiple of the minimum block size and at least 4096, the preferred block size, not 2048"
        );
    }

    #[test]
    fn the_empty_name_means_the_default_export() {
        let export = |name: &str| Export::new(name, MemoryStore::new(1));
        let exports = Exports::new(vec![export("a"), export("b")], Some("b".into())).unwrap();
        assert_eq!(exports.find(b"").unwrap().name(), "b");
        let exports = Exports::new(vec![export("a"), export("b")], None).unwrap();
        assert!(exports.find(b"").is_none());
        assert_eq!(
            Exports::new(vec![export("a"), export("a")], None).unwrap_err(),
            BadExport::Twice("a".into())
        );
    }

    #[test]
    fn an_export_is_whole_blocks() {
        let export = Export::new("", MemoryStore::new(1000))
            .with_block_sizes(BlockSizes::new(512, 512, 1 << 20).unwrap());
        assert_eq!(export.size(), 512);
    }
}
