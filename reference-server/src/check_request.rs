//! What a server makes of a request by its header alone. No sockets, no clock.

use protocol::message::{Request, RequestForm};
use protocol::values::{Command, CommandFlags, ErrorCode, TransmissionFlags};

use crate::behaviour::{
    CheckOrder, Commands, Exception, FlagChecks, LargeWrite, Lengths, Treatment, Wrongs,
};
use crate::features::Replies;
use crate::transmission::{Failure, Transmission, Verdict, effect_length};

/// Whether a request is as it should be, in one regard.
type Check = fn(&Transmission, &Request) -> Result<(), Failure>;

impl Transmission {
    /// Judges a request by its header alone.
    pub(crate) fn check(&self, request: &Request) -> Verdict {
        let large = request.command == Command::WRITE && request.length > self.maximum();
        let large_write = self.config.behaviour.large_write;
        if large && large_write == LargeWrite::FailsAndCloses {
            let why = format!("a write of {} bytes", request.length);
            return Verdict::RefuseAndClose(Failure::new(ErrorCode::EINVAL, why));
        }
        match (request.form, self.replies) {
            (RequestForm::Extended, Replies::Extended) => {
                let length = request.payload_length();
                if length > self.maximum() {
                    return Verdict::Close(format!("a payload of {length} bytes"));
                }
            }
            (RequestForm::Compact, Replies::Extended) => {
                return Verdict::Close("a compact request after extended headers".into());
            }
            (RequestForm::Extended, _) => {
                return Verdict::Close("an extended request that was not agreed".into());
            }
            (RequestForm::Compact, _) => {}
        }
        if large && large_write == LargeWrite::Closes {
            return Verdict::Close(format!("a write of {} bytes", request.length));
        }
        let mut exceptions = self.config.behaviour.exceptions.iter();
        let exception = exceptions.find(|it| self.is_about(it, request));
        match exception.map(|exception| exception.treatment) {
            Some(Treatment::Serve) => return Verdict::Serve,
            Some(Treatment::Close) => return Verdict::Close(format!("{}", request.command)),
            Some(Treatment::Fail(_)) | None => {}
        }
        let (flags, access) = (Self::check_flags, Self::check_access);
        let (status, extent) = (Self::check_status, Self::check_extent);
        let checks: [Check; 4] = match self.config.behaviour.check_order {
            CheckOrder::FlagsAccessRange => [flags, access, status, extent],
            CheckOrder::FlagsRangeAccess => [flags, extent, access, status],
            CheckOrder::AccessFlagsRange => [access, flags, status, extent],
        };
        let known = self.check_command(request);
        match known.and_then(|()| checks.iter().try_for_each(|check| check(self, request))) {
            Ok(()) => match exception.map(|exception| exception.treatment) {
                Some(Treatment::Fail(error)) => {
                    Verdict::Refuse(Failure::new(error, "it is not served"))
                }
                _ => Verdict::Serve,
            },
            Err(failure) => match self.config.behaviour.wrongs {
                Wrongs::RefusedAndLeft if self.is_wrong(request) => {
                    Verdict::RefuseAndClose(failure)
                }
                Wrongs::Left if self.is_wrong(request) => Verdict::Close(failure.why),
                _ => Verdict::Refuse(failure),
            },
        }
    }

    /// Whether it breaks a MUST of clients, so that the server may leave (section "Terminating the
    /// transmission phase").
    fn is_wrong(&self, request: &Request) -> bool {
        let end = request.offset.checked_add(effect_length(request));
        let beyond = end.is_none_or(|end| end > self.export.size());
        let wrong = match request.command {
            Command::FLUSH => false,
            Command::BLOCK_STATUS => beyond || self.contexts.is_empty(),
            command => beyond && self.knows(command),
        };
        // With extended headers it should skip a payload and go on.
        let carries = request.form == RequestForm::Extended && request.payload_length() > 0;
        wrong && !carries
    }

    fn is_about(&self, exception: &Exception, request: &Request) -> bool {
        let command = match exception.commands {
            Commands::Only(command) => request.command == command,
            Commands::WithData => matches!(request.command, Command::READ | Command::WRITE),
            Commands::Unknown => !self.knows(request.command),
        };
        let length = effect_length(request);
        let lengths = match exception.lengths {
            Lengths::Any => true,
            Lengths::Zero => length == 0,
            Lengths::NotZero => length > 0,
            Lengths::Above(limit) => length > limit,
            Lengths::AboveMaximum => length > self.maximum(),
        };
        command && lengths && request.flags.has(exception.flags)
    }

    fn knows(&self, command: Command) -> bool {
        let features = &self.config.behaviour.features;
        match command {
            Command::READ | Command::WRITE | Command::DISC => true,
            Command::FLUSH => features.flush,
            Command::TRIM => features.trim,
            Command::WRITE_ZEROES => features.write_zeroes,
            Command::CACHE => features.cache,
            Command::BLOCK_STATUS => features.meta_context && self.replies != Replies::Simple,
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
        let extended = request.form == RequestForm::Extended;
        let has = |flag, allowed| if self.flags.has(flag) { allowed } else { F::EMPTY };
        let mut allowed = match request.command {
            Command::READ => has(TransmissionFlags::SEND_DF, F::DF),
            // The clients of qemu leave PAYLOAD_LEN out (`ext-write-payload-flag`). What else they
            // could mean is open to nobody, so they are served; see `Request::payload_length`.
            Command::WRITE if extended => F::PAYLOAD_LEN,
            Command::WRITE_ZEROES => {
                let fast = has(TransmissionFlags::SEND_FAST_ZERO, F::FAST_ZERO);
                fast | F::NO_HOLE
            }
            Command::BLOCK_STATUS => {
                has(TransmissionFlags::BLOCK_STATUS_PAYLOAD, F::PAYLOAD_LEN) | F::REQ_ONE
            }
            _ => F::EMPTY,
        };
        if self.flags.has(TransmissionFlags::SEND_FUA) {
            allowed = allowed | F::FUA;
        }
        let behaviour = &self.config.behaviour;
        let unwanted = request.flags.without(allowed);
        let unwanted = match behaviour.flag_checks {
            _ if behaviour.ignores_flags_of == Some(request.command) => F::EMPTY,
            FlagChecks::All => unwanted,
            FlagChecks::Known => unwanted.without(request.flags.unknown()),
            FlagChecks::Unknown => unwanted.unknown(),
            FlagChecks::Nothing => F::EMPTY,
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
        match self.config.behaviour.read_only {
            Some(error) if writes && self.export.is_read_only() => {
                Err(Failure::new(error, "the export is read-only"))
            }
            _ => Ok(()),
        }
    }

    /// Contexts must have been selected, and a payload must name some of them, each once.
    fn check_status(&self, request: &Request) -> Result<(), Failure> {
        if request.command != Command::BLOCK_STATUS {
            return Ok(());
        }
        let refusal = |why: &str| Err(Failure::new(ErrorCode::EINVAL, why));
        if self.contexts.is_empty() {
            return refusal("no metadata context was selected for this export");
        }
        match &request.status {
            None if request.flags.has(CommandFlags::PAYLOAD_LEN) => {
                return refusal("the payload must be a length and context ids");
            }
            Some(_) if !self.config.behaviour.checks_status_ids => {}
            Some(status) => {
                for (index, id) in status.ids.iter().enumerate() {
                    if status.ids[..index].contains(id) {
                        return refusal(&format!("the context id {id:#x} comes twice"));
                    }
                    if !self.contexts.iter().any(|selected| selected.id == *id) {
                        return refusal(&format!("the context id {id:#x} is unknown"));
                    }
                }
                if status.ids.is_empty() {
                    return refusal("the payload names no context");
                }
            }
            None => {}
        }
        // An extent can't be empty.
        if effect_length(request) == 0 { refusal("there is no status of no bytes") } else { Ok(()) }
    }

    /// Where and how long it is.
    fn check_extent(&self, request: &Request) -> Result<(), Failure> {
        if request.command == Command::FLUSH {
            return Ok(());
        }
        self.check_range(request)?;
        self.check_sizes(request)
    }

    /// Section "Error values": ENOSPC for what would grow the export, EINVAL for the rest.
    fn check_range(&self, request: &Request) -> Result<(), Failure> {
        let (size, length) = (self.export.size(), effect_length(request));
        let behaviour = &self.config.behaviour;
        let end = match behaviour.wraps_offsets {
            true => Some(request.offset.wrapping_add(length)),
            false => request.offset.checked_add(length),
        };
        if end.is_some_and(|end| end <= size) {
            return Ok(());
        }
        let error = match request.command {
            command if behaviour.serves_past_end == Some(command) => return Ok(()),
            Command::WRITE_ZEROES => behaviour.zeroes_past_end.unwrap_or(behaviour.past_end),
            Command::WRITE => behaviour.past_end,
            _ => ErrorCode::EINVAL,
        };
        let why =
            format!("{length} bytes at {} end beyond the export of {size} bytes", request.offset);
        Err(Failure::new(error, why))
    }

    /// Section "Size constraints".
    fn check_sizes(&self, request: &Request) -> Result<(), Failure> {
        let sizes = self.export.block_sizes();
        let untold = if self.config.behaviour.enforces_untold { 512 } else { 1 };
        let minimum = u64::from(sizes.minimum()).max(untold);
        let aligned = request.offset.is_multiple_of(minimum)
            && effect_length(request).is_multiple_of(minimum);
        if !aligned && !self.config.behaviour.serves_unaligned {
            let why = format!("offset and length must be multiples of {minimum}");
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        let maximum = self.maximum();
        let carries = match request.command {
            Command::READ | Command::WRITE => true,
            Command::CACHE => self.config.behaviour.limits_cache,
            _ => false,
        };
        if carries && request.length > maximum {
            let why = format!("a payload has at most {maximum} bytes, not {}", request.length);
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        Ok(())
    }
}
