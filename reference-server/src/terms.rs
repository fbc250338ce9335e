//! What was agreed for the transmission phase, and what that makes of a request. No sockets, no
//! clock; only [`Terms::perform`] touches the store.

use std::io;
use std::sync::Arc;

use protocol::message::{Request, RequestForm};
use protocol::values::{Command, CommandFlags, ErrorCode, TransmissionFlags};

use crate::config::Config;
use crate::export::Export;
use crate::fault::{Fault, FaultyStore};
use crate::store::{Run, Store};

/// What was agreed for the transmission phase.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) config: Arc<Config>,
    pub(crate) export: Arc<Export>,
    pub(crate) structured: bool,
    pub(crate) flags: TransmissionFlags,
    store: Arc<dyn Store>,
}

/// What a server makes of a request before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    Refuse(Failure),
    Close(String),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: ErrorCode,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(error: ErrorCode, why: impl Into<String>) -> Self {
        Self { error, why: why.into() }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Data { bytes: Vec<u8>, runs: Vec<Run> },
    Failed(Failure),
}

impl Terms {
    pub(crate) fn new(config: &Arc<Config>, export: &Arc<Export>, structured: bool) -> Self {
        let store = match config.fault {
            Some(fault) => Arc::new(FaultyStore::new(fault, export.store().clone())),
            None => export.store().clone(),
        };
        let structured = match config.fault {
            Some(Fault::StructuredForgotten) => false,
            Some(Fault::StructuredUnasked) => true,
            _ => structured,
        };
        Self {
            flags: config.features.transmission_flags(export, structured),
            config: config.clone(),
            export: export.clone(),
            structured,
            store,
        }
    }

    fn breaks(&self, fault: Fault) -> bool {
        self.config.breaks(fault)
    }

    /// Whether serving a request may block the thread.
    pub(crate) fn blocks(&self) -> bool {
        self.store.blocks()
    }

    /// How many bytes of memory serving the request takes.
    pub(crate) fn memory(&self, request: &Request) -> u64 {
        match request.command {
            Command::READ | Command::WRITE => request.length,
            _ => 0,
        }
    }

    /// Judges a request by its header alone.
    pub(crate) fn check(&self, request: &Request) -> Verdict {
        if request.form != RequestForm::Compact {
            return Verdict::Close("an extended request that was not agreed".into());
        }
        let carries = matches!(request.command, Command::READ | Command::WRITE);
        match self.config.fault {
            Some(Fault::ReadLargeCloses) if carries && request.length > 1 << 20 => {
                return Verdict::Close("a large payload".into());
            }
            Some(Fault::ReadZeroCloses)
                if request.command == Command::READ && request.length == 0 =>
            {
                return Verdict::Close("an empty read".into());
            }
            Some(Fault::CommandUnknownCloses) if !self.knows(request.command) => {
                return Verdict::Close("an unknown command".into());
            }
            Some(Fault::CommandUnknownSucceeds) if !self.knows(request.command) => {
                return Verdict::Serve;
            }
            Some(Fault::ZeroesEnotsup) if request.command == Command::WRITE_ZEROES => {
                let why = "zeroes can't be written fast";
                return Verdict::Refuse(Failure::new(ErrorCode::ENOTSUP, why));
            }
            _ => {}
        }
        let checks = [Self::check_command, Self::check_flags, Self::check_access];
        let ranged = [Self::check_range, Self::check_sizes];
        let ranged = if request.command == Command::FLUSH { &[][..] } else { &ranged };
        match checks.iter().chain(ranged).try_for_each(|check| check(self, request)) {
            Ok(()) => Verdict::Serve,
            Err(failure) => Verdict::Refuse(failure),
        }
    }

    fn knows(&self, command: Command) -> bool {
        let features = &self.config.features;
        match command {
            Command::READ | Command::WRITE | Command::DISC => true,
            Command::FLUSH => features.flush && !self.breaks(Fault::FlushAdvertisedOnly),
            Command::TRIM => features.trim,
            Command::WRITE_ZEROES => features.write_zeroes,
            _ => false,
        }
    }

    fn check_command(&self, request: &Request) -> Result<(), Failure> {
        if self.knows(request.command) {
            return Ok(());
        }
        let why = format!("{} is not supported", request.command);
        Err(Failure::new(ErrorCode::EINVAL, why))
    }

    /// FUA goes with every command once it is advertised (section "Command flags").
    fn check_flags(&self, request: &Request) -> Result<(), Failure> {
        use CommandFlags as F;
        let mut allowed = match request.command {
            Command::READ if self.flags.has(TransmissionFlags::SEND_DF) => F::DF,
            Command::WRITE_ZEROES if !self.breaks(Fault::NoHoleRefused) => F::NO_HOLE,
            _ => F::EMPTY,
        };
        let on_read = request.command == Command::READ && self.breaks(Fault::FuaRefusedOnRead);
        if self.flags.has(TransmissionFlags::SEND_FUA) && !on_read {
            allowed = allowed | F::FUA;
        }
        let unwanted = match self.config.fault {
            Some(Fault::FlagUnknownAccepted) => {
                request.flags.without(allowed).without(request.flags.unknown())
            }
            Some(Fault::FlagInapplicableAccepted) => request.flags.without(allowed).unknown(),
            Some(Fault::DfRefused) => request.flags.without(allowed.without(F::DF)),
            _ => request.flags.without(allowed),
        };
        if unwanted == F::EMPTY {
            return Ok(());
        }
        let why = format!("the flags {unwanted} do not go with {} here", request.command);
        Err(Failure::new(ErrorCode::EINVAL, why))
    }

    fn check_access(&self, request: &Request) -> Result<(), Failure> {
        let writes =
            matches!(request.command, Command::WRITE | Command::TRIM | Command::WRITE_ZEROES);
        if !writes || !self.export.is_read_only() || self.breaks(Fault::ReadOnlyWritable) {
            return Ok(());
        }
        let error = match self.config.fault {
            Some(Fault::ReadOnlyEio) => ErrorCode::EIO,
            _ => ErrorCode::EPERM,
        };
        Err(Failure::new(error, "the export is read-only"))
    }

    /// Section "Error values": ENOSPC for what would grow the export, EINVAL for the rest.
    fn check_range(&self, request: &Request) -> Result<(), Failure> {
        let size = self.export.size();
        let end = match self.config.fault {
            Some(Fault::ReadOffsetWraps) => Some(request.offset.wrapping_add(request.length)),
            _ => request.offset.checked_add(request.length),
        };
        if end.is_some_and(|end| end <= size) {
            return Ok(());
        }
        let error = match (request.command, self.config.fault) {
            (Command::READ, Some(Fault::ReadPastEnd))
            | (Command::WRITE, Some(Fault::WritePastEnd))
            | (Command::WRITE_ZEROES, Some(Fault::ZeroesPastEnd)) => return Ok(()),
            (Command::WRITE, Some(Fault::WritePastEndEio)) => ErrorCode::EIO,
            (Command::WRITE | Command::WRITE_ZEROES, _) => ErrorCode::ENOSPC,
            _ => ErrorCode::EINVAL,
        };
        let why = format!(
            "{} bytes at {} end beyond the export of {size} bytes",
            request.length, request.offset
        );
        Err(Failure::new(error, why))
    }

    /// Section "Size constraints".
    fn check_sizes(&self, request: &Request) -> Result<(), Failure> {
        let sizes = self.export.block_sizes();
        let minimum = u64::from(sizes.minimum());
        let aligned =
            request.offset.is_multiple_of(minimum) && request.length.is_multiple_of(minimum);
        if !aligned && !self.breaks(Fault::ReadUnaligned) {
            let why = format!("offset and length must be multiples of {minimum}");
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        let maximum = u64::from(sizes.maximum());
        if self.memory(request) > maximum {
            let why = format!("a payload has at most {maximum} bytes, not {}", request.length);
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        Ok(())
    }

    /// Does what a request that passed [`Terms::check`] asks for.
    pub(crate) fn perform(&self, request: &Request, payload: &[u8]) -> Outcome {
        match self.try_perform(request, payload) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(Failure::new(code_of(&error), error.to_string())),
        }
    }

    fn try_perform(&self, request: &Request, payload: &[u8]) -> io::Result<Outcome> {
        let Request { offset, length, .. } = *request;
        match request.command {
            Command::READ => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let (mut bytes, mut runs) = (vec![0; length], Vec::new());
                self.store.read(offset, &mut bytes, &mut runs)?;
                return Ok(Outcome::Data { bytes, runs });
            }
            Command::WRITE => self.store.write(offset, payload)?,
            Command::TRIM => self.store.trim(offset, length)?,
            Command::WRITE_ZEROES => {
                let provision = request.flags.has(CommandFlags::NO_HOLE);
                self.store.zero(offset, length, provision)?;
            }
            Command::FLUSH => {
                self.store.flush()?;
                return Ok(Outcome::Done);
            }
            _ => return Ok(Outcome::Done),
        }
        // What FUA covers was just stored; making everything stable covers it.
        if request.flags.has(CommandFlags::FUA) {
            self.store.flush()?;
        }
        Ok(Outcome::Done)
    }
}

/// The error value for what a store reports (section "Error values").
fn code_of(error: &io::Error) -> ErrorCode {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => ErrorCode::ENOSPC,
        K::PermissionDenied | K::ReadOnlyFilesystem => ErrorCode::EPERM,
        K::InvalidInput => ErrorCode::EINVAL,
        _ => ErrorCode::EIO,
    }
}
