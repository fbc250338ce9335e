//! What clients do wrong on purpose: a list for each place where it shows. What each does says the
//! row of its name in [`crate::ClientFault`], or in [`crate::ClientQuirk`] where it is lawful.

/// How an export is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entering {
    Lawful,
    /// Takes any final reply to GO for the ACK.
    AnyReply,
    /// Sends a read before the ACK of GO.
    Early,
    /// By `NBD_OPT_EXPORT_NAME` although extended headers were agreed.
    ByNameAfterExtended,
    /// By `NBD_OPT_EXPORT_NAME` after any refusal of GO.
    ByNameAfterRefusal,
    /// Never by `NBD_OPT_EXPORT_NAME`.
    NeverByName,
    /// By `NBD_OPT_EXPORT_NAME` with a count before the name.
    CountedName,
    /// By a name with a slash before it.
    SlashBeforeName,
    /// Not at all.
    Never,
    /// Takes the end of the stream for the answer to `NBD_OPT_EXPORT_NAME`.
    EndIsAnswer,
}

/// How a session ends before transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quitting {
    Abort,
    /// Does not wait for the reply.
    Unawaited,
    /// Closes without a word.
    Close,
    /// Closes without a word where it is told of a shutdown.
    CloseAtShutdown,
    /// `NBD_OPT_ABORT` has data.
    AbortWithData,
}

/// How transmission ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Disc,
    /// `NBD_CMD_DISC`, and closes at once.
    Impatient,
    /// Closes without a word.
    Close,
    /// The same, and where it is told of a shutdown only.
    CloseAtShutdown,
    /// Reads once more where it is told of a shutdown.
    ReadsAtShutdown,
    /// `NBD_CMD_DISC` with a request in flight.
    InFlight,
    /// `NBD_CMD_DISC` has a length.
    DiscWithLength,
    /// Closes without a word, and without ending TLS.
    Torn,
}

/// What a client does wrong about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// Speaks TLS before the greeting.
    AtOnce,
    /// Goes on in the clear after the ACK.
    PlainAfterAck,
    /// Hangs up at the ACK.
    LeavesAtAck,
    /// Shakes hands whatever the answer is.
    AnyReply,
    /// Asks a second time inside.
    Twice,
    /// Asks where fixed newstyle was not agreed.
    NotFixed,
    /// Goes on in the clear after a failed handshake.
    PlainAfterFailure,
    /// Goes on in the clear where it was refused.
    PlainAfterRefusal,
    /// Does not verify the server.
    Unverified,
    Only12,
    Only13,
}

/// What is wrong with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFault {
    CutsOffsets,
    OldMagic,
    OtherMagic,
    ExtendedUnasked,
    CompactUnderExtended,
    NoPayloadFlag,
    PayloadLong,
    NamesContexts,
    NamesContextsOdd,
    LittleEndian,
    FuaAlways,
    FastZeroAlways,
    SpareFlag,
    Unlimited,
    FlushEverywhere,
}

/// What is done wrong with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataFault {
    WritesNothing,
    WritesElsewhere,
    WritesGarbled,
    WritesHalf,
    ReadsShifted,
    ReadsLess,
    RoundsSizeUp,
    FlushesNot,
    ZeroesNot,
    FailsLists,
}

/// The mistakes of a server that a client does not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlooks {
    ReplyMagic,
    GreetingMagic,
    Cookies,
    OutOfBounds,
    Overlap,
    Missing,
    UnfitChunks,
    SimpleReads,
    SimpleUnderExtended,
    CompactStatus,
    EmptyExtents,
    Layouts,
    Errors,
    UnknownErrors,
    ErrorChunks,
    UnknownErrorChunks,
    ErrorsAfterData,
    Closes,
    Writes,
}

/// The lawful things of a server that a client can't cope with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Minds {
    SpareGreetingFlags,
    SpareTransmissionFlags,
    SpareReplyFlags,
    UnknownInfo,
    InfoOrder,
    LargeContextIds,
    SpareStatusBits,
    EqualNeighbours,
    ChunkOrder,
    Holes,
    EmptyLastChunk,
    Descriptions,
    LongNames,
    UnansweredAbort,
    NoStructured,
    NoExtended,
}
