//! What the conversation so far adds to a line.

use crate::message::Cookie;
use crate::values::OptionType;

/// What the conversation so far adds to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Extended headers are in force: requests and chunks without `form` have them.
    pub extended: bool,
    /// For a request or reply without `cookie`.
    pub cookie: Option<Cookie>,
    /// For an option reply without `option`.
    pub option: Option<OptionType>,
    /// For an extended chunk without `request-offset`.
    pub request_offset: Option<u64>,
    /// The answer to `NBD_OPT_EXPORT_NAME` without `padding` has its 124 zeroes.
    pub padded: bool,
}
