//! Exports written as text: `mem:16MiB,ro,desc=scratch`, `file:/path`, `pattern:1MiB,seed=7`.

use std::io;
use std::str::FromStr;
use std::sync::Arc;

use protocol::units::{NotASize, size};

use crate::bitmap::{DEFAULT_GRANULARITY, DirtyBitmap};
use crate::export::{BadExport, BlockSizes, Export};
use crate::store::{FileStore, MemoryStore, Store};

/// An export as it is written on a command line, without its name:
/// `KIND:WHAT[,OPTION[=VALUE]]...`.
///
/// Kinds: `mem:SIZE`, `pattern:SIZE` (reads as `place(seed)` until it is written), `file:PATH`.
/// Options: `ro`, `desc=TEXT`, `min=SIZE`, `pref=SIZE`, `max=SIZE`, `required` (refuse clients that
/// do not ask for the block size), `rotational`, `single` (not for several connections), `hidden`
/// (not listed), `tls` (only inside TLS, of a server whose TLS is selective), `seed=N` (of a
/// pattern), `backing=KIND:WHAT` (of memory: what it reads as until it is written), `bitmap=NAME`
/// (a dirty bitmap; as often as wanted), `granularity=SIZE` (of the bitmaps). A comma in a path or
/// text is doubled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    kind: Kind,
    description: String,
    sizes: BlockSizes,
    read_only: bool,
    required: bool,
    rotational: bool,
    multi_conn: bool,
    listed: bool,
    tls_only: bool,
    backing: Option<Kind>,
    bitmaps: Vec<String>,
    granularity: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Memory(u64),
    Pattern(u64, u16),
    File(String),
}

/// Why a text describes no export.
#[derive(Debug, thiserror::Error)]
pub enum BadSpec {
    /// It does not begin with a kind.
    #[error("`{0}` is not an export; write `mem:SIZE`, `pattern:SIZE` or `file:PATH`")]
    Kind(String),
    /// A size that is none.
    #[error(transparent)]
    Size(#[from] NotASize),
    /// A seed that is none.
    #[error("`{0}` is not a seed; write a number up to 65535")]
    Seed(String),
    /// An option that exports do not have.
    #[error(
        "there is no export option `{0}`; there are `ro`, `desc=`, `min=`, `pref=`, `max=`, \
         `required`, `rotational`, `single`, `hidden`, `tls`, `seed=`, `backing=`, `bitmap=` and \
         `granularity=`"
    )]
    Option(String),
    /// Something else than memory with a backing store.
    #[error("`backing=` goes with `mem:` only: changes stay in memory")]
    Backing,
    /// The values break a rule of the protocol.
    #[error(transparent)]
    Export(#[from] BadExport),
    /// The file can't be used.
    #[error("can't open `{path}`: {error}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// The parts between single commas; a doubled comma is one comma of a part.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn size32(text: &str) -> Result<u32, BadSpec> {
    u32::try_from(size(text)?).map_err(|_| NotASize(text.to_owned()).into())
}

impl FromStr for ExportSpec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let parts = split(text);
        let (first, options) = parts.split_first().ok_or_else(|| BadSpec::Kind(String::new()))?;
        let mut kind = Kind::parse(first)?;
        let mut spec = Self {
            kind: Kind::Memory(0),
            description: String::new(),
            sizes: BlockSizes::default(),
            read_only: false,
            required: false,
            rotational: false,
            multi_conn: true,
            listed: true,
            tls_only: false,
            backing: None,
            bitmaps: Vec::new(),
            granularity: DEFAULT_GRANULARITY,
        };
        let default = BlockSizes::default();
        let (mut minimum, mut preferred, mut maximum) = (None, None, None);
        for option in options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("ro", "") => spec.read_only = true,
                ("required", "") => spec.required = true,
                ("rotational", "") => spec.rotational = true,
                ("single", "") => spec.multi_conn = false,
                ("hidden", "") => spec.listed = false,
                ("tls", "") => spec.tls_only = true,
                ("desc", text) => spec.description = text.to_owned(),
                ("min", size) => minimum = Some(size32(size)?),
                ("pref", size) => preferred = Some(size32(size)?),
                ("max", size) => maximum = Some(size32(size)?),
                ("backing", store) if matches!(kind, Kind::Memory(_)) => {
                    spec.backing = Some(Kind::parse(store)?);
                }
                ("backing", _) => return Err(BadSpec::Backing),
                ("bitmap", name) => spec.bitmaps.push(name.to_owned()),
                ("granularity", text) => spec.granularity = size(text)?,
                ("seed", number) => match (&mut kind, number.parse()) {
                    (Kind::Pattern(_, seed), Ok(number)) => *seed = number,
                    (Kind::Pattern(..), Err(_)) => return Err(BadSpec::Seed(number.to_owned())),
                    _ => return Err(BadSpec::Option("seed= without pattern:".to_owned())),
                },
                _ => return Err(BadSpec::Option(option.clone())),
            }
        }
        let minimum = minimum.unwrap_or(default.minimum());
        let preferred = preferred.unwrap_or(default.preferred().max(minimum));
        let maximum = maximum.unwrap_or(default.maximum());
        spec.sizes = BlockSizes::new(minimum, preferred, maximum)?;
        spec.kind = kind;
        // Found now, while the place of the mistake is known.
        spec.bitmaps()?;
        Ok(spec)
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, BadSpec> {
        match text.split_once(':') {
            Some(("mem", text)) => Ok(Self::Memory(size(text)?)),
            Some(("pattern", text)) => Ok(Self::Pattern(size(text)?, 1)),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            _ => Err(BadSpec::Kind(text.to_owned())),
        }
    }

    fn open(&self, read_only: bool) -> Result<Arc<dyn Store>, BadSpec> {
        Ok(match self {
            Self::Memory(size) => Arc::new(MemoryStore::new(*size)),
            Self::Pattern(size, seed) => Arc::new(MemoryStore::pattern(*size, *seed)),
            Self::File(path) => {
                let store = FileStore::open(path, read_only)
                    .map_err(|error| BadSpec::Open { path: path.clone(), error })?;
                Arc::new(store)
            }
        })
    }
}

impl ExportSpec {
    fn bitmaps(&self) -> Result<Vec<DirtyBitmap>, BadExport> {
        let made = |name| DirtyBitmap::new(name, self.granularity).map_err(BadExport::from);
        self.bitmaps.iter().map(made).collect()
    }

    /// Makes the export; a file is opened.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(&self, name: &str) -> Result<Export, BadSpec> {
        let store = match (&self.kind, &self.backing) {
            (Kind::Memory(size), Some(backing)) => {
                Arc::new(MemoryStore::over(*size, backing.open(true)?))
            }
            (kind, _) => kind.open(self.read_only)?,
        };
        let mut export = Export::shared(name, store);
        for bitmap in self.bitmaps()? {
            export = export.with_bitmap(bitmap);
        }
        Ok(export
            .with_description(&*self.description)
            .with_block_sizes(self.sizes)
            .with_read_only(self.read_only)
            .with_block_size_required(self.required)
            .with_rotational(self.rotational)
            .with_multi_conn(self.multi_conn)
            .with_listed(self.listed)
            .with_tls_only(self.tls_only))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Export {
        text.parse::<ExportSpec>().unwrap().open("x").unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<ExportSpec>().unwrap_err().to_string()
    }

    #[test]
    fn options_follow_the_kind() {
        let export = open("mem:1MiB,ro,desc=a,,b=c,min=512,pref=4096,max=1MiB,required,single");
        assert_eq!(export.size(), 1 << 20);
        assert_eq!(export.description(), "a,b=c");
        assert!(export.is_read_only() && export.is_block_size_required());
        assert!(!export.is_multi_conn());
        assert_eq!(export.block_sizes(), BlockSizes::new(512, 4096, 1 << 20).unwrap());
        assert_eq!(open("mem:1M,min=64k").block_sizes().preferred(), 65_536);
    }

    #[test]
    fn memory_may_lie_over_another_store() {
        let export = open("mem:1MiB,backing=pattern:64KiB,bitmap=b0,bitmap=b1,granularity=4k");
        assert_eq!(export.store().status(0, 1 << 20).unwrap().depth, 2);
        assert_eq!(export.size(), 1 << 20);
        let names: Vec<_> = export.bitmaps().iter().map(|bitmap| bitmap.name()).collect();
        assert_eq!(names, ["b0", "b1"]);
        assert_eq!(export.bitmaps()[0].granularity(), 4096);
        insta::assert_snapshot!(error("pattern:1M,backing=mem:1M"), @"`backing=` goes with `mem:` only: changes stay in memory");
        insta::assert_snapshot!(error("mem:1M,bitmap="), @"`` is not a name for a dirty bitmap: it must have 1 to 4078 bytes and no zero byte");
    }

    #[test]
    fn errors_say_what_there_is() {
        insta::assert_snapshot!(error("disk.img"), @"`disk.img` is not an export; write `mem:SIZE`, `pattern:SIZE` or `file:PATH`");
        insta::assert_snapshot!(error("mem:1 MB"), @"`1 MB` is not a size; write a number of bytes, or one with `KiB`, `MiB`, `GiB` or `TiB`");
        insta::assert_snapshot!(error("mem:1M,rw"), @"there is no export option `rw`; there are `ro`, `desc=`, `min=`, `pref=`, `max=`, `required`, `rotational`, `single`, `hidden`, `tls`, `seed=`, `backing=`, `bitmap=` and `granularity=`");
        insta::assert_snapshot!(error("mem:1M,min=3"), @"a minimum block size is a power of 2 up to 65536, not 3");
        insta::assert_snapshot!(error("pattern:1M,seed=x"), @"`x` is not a seed; write a number up to 65535");
    }
}
