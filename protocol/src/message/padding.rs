//! The reserved bytes after two messages.

/// The reserved bytes after the oldstyle greeting and the answer to `NBD_OPT_EXPORT_NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Padding {
    /// Not sent (no-zeroes was agreed).
    Absent,
    /// 124 zeroes.
    #[default]
    Zeroes,
    /// 124 bytes, some not zero.
    Other(Box<[u8; 124]>),
}

impl From<[u8; 124]> for Padding {
    fn from(bytes: [u8; 124]) -> Self {
        if bytes == [0; 124] { Self::Zeroes } else { Self::Other(Box::new(bytes)) }
    }
}
