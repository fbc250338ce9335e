//! What careless clients make of bytes that are no message.

use protocol::codec::{self, Decoded, Limits};
use protocol::message::{Greeting, Message};
use protocol::values::{INIT_MAGIC, OPTION_MAGIC, SIMPLE_REPLY_MAGIC};

/// A greeting whatever it begins with.
pub(super) fn greeting(bytes: &[u8]) -> Decoded<Greeting> {
    let mut magics = INIT_MAGIC.to_be_bytes().to_vec();
    magics.extend(OPTION_MAGIC.to_be_bytes());
    codec::greeting(&with_head(bytes, &magics))
}

/// A simple reply whatever it begins with.
pub(super) fn reply(bytes: &[u8]) -> Decoded<Message> {
    codec::reply(&with_head(bytes, &SIMPLE_REPLY_MAGIC.to_be_bytes()), Limits::default())
}

/// The same bytes with another beginning, as far as they go.
fn with_head(bytes: &[u8], head: &[u8]) -> Vec<u8> {
    let count = head.len().min(bytes.len());
    [&head[..count], &bytes[count..]].concat()
}
