//! Errors that tell of the server's devices and state, not of what was asked.

use protocol::values::ErrorCode;

/// What excuses an error: who may fail so whatever is asked. `None` of an error that a request
/// deserves.
pub(crate) fn of(error: ErrorCode) -> Option<&'static str> {
    match error {
        ErrorCode::EIO | ErrorCode::ENOSPC | ErrorCode::ENOMEM => Some("as a device may"),
        ErrorCode::ESHUTDOWN => Some("as a server that shuts down may"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_hang_on_the_request_is_excused() {
        let excused = |error| of(error).is_some();
        assert!(excused(ErrorCode::ENOSPC) && excused(ErrorCode::ESHUTDOWN));
        assert!(!excused(ErrorCode::EINVAL) && !excused(ErrorCode::OK));
    }
}
