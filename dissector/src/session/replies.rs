//! What the server said in transmission, as far as later messages are judged by it.

/// What the server said last: tells what garbage after it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Last {
    /// Nothing in transmission.
    #[default]
    Nothing,
    /// NBD_REP_ACK to NBD_OPT_GO.
    Go,
    /// The answer to NBD_OPT_EXPORT_NAME.
    ExportName,
    /// A simple reply with the data of a read.
    SimpleRead,
    /// A simple reply that fails a read.
    SimpleReadError,
    /// Any other simple reply.
    SimpleOther,
    /// A chunk.
    Chunk,
}

/// The server's side of transmission.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) last: Last,
    pub(super) doubtful: bool,
    pub(super) excused: bool,
}

impl Replies {
    /// Where the last reply ends is not known for sure.
    pub(super) fn set_doubtful(&mut self) {
        self.doubtful = true;
    }

    /// The client sent bytes that the server may have taken for requests: its answers to them are
    /// no fault of its own.
    pub(super) fn excuse_strays(&mut self) {
        self.excused = true;
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// A reply that can be followed.
    pub(super) fn set(&mut self, last: Last) {
        self.last = last;
        self.doubtful = false;
    }
}
