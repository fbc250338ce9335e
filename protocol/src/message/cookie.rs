//! What ties replies to a request.

/// The value that ties replies to a request (section "Transmission"); opaque to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Cookie(pub u64);

impl From<u64> for Cookie {
    fn from(raw: u64) -> Self {
        Self(raw)
    }
}

impl From<Cookie> for u64 {
    fn from(cookie: Cookie) -> Self {
        cookie.0
    }
}
