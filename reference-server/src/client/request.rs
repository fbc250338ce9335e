//! Requests, and the form of headers that they and their replies have in a session.

use protocol::message::{ChunkForm, Cookie, Message, Request, RequestForm, StatusPayload};
use protocol::values::{Command, CommandFlags};

use super::error::{ClientError, Violation};

/// What haggling agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// Compact requests, simple replies.
    #[default]
    Simple,
    /// Compact requests, structured replies.
    Structured,
    /// Extended requests and replies.
    Extended,
}

impl Form {
    /// Whether replies come in chunks.
    pub(crate) fn is_chunked(self) -> bool {
        self != Self::Simple
    }

    /// The longest range that one request without payload may be about, in bytes.
    pub(crate) fn longest(self) -> u64 {
        match self {
            // The largest length of 32 bits that is a multiple of any minimum block size.
            Self::Simple | Self::Structured => 0xffff_0000,
            Self::Extended => u64::MAX,
        }
    }

    /// A request but for the data of a write.
    pub(crate) fn header(self, call: &Call, cookie: Cookie) -> Result<Vec<u8>, ClientError> {
        let mut request = Request {
            form: RequestForm::Compact,
            flags: call.flags,
            command: call.command,
            cookie,
            offset: call.offset,
            length: call.length,
            status: None,
        };
        if self == Self::Extended {
            request.form = RequestForm::Extended;
            if !call.ids.is_empty() {
                request.length = 8 + 4 * call.ids.len() as u64;
                let ids = call.ids.clone();
                request.status = Some(StatusPayload { effect_length: call.length, ids });
            }
            if request.status.is_some() || call.command == Command::WRITE {
                request.flags = request.flags | CommandFlags::PAYLOAD_LEN;
            }
        } else if !call.ids.is_empty() || u32::try_from(call.length).is_err() {
            return Err(ClientError::NotOffered("extended headers, which this request takes"));
        }
        Ok(Message::Request(request).to_bytes())
    }

    /// Whether a chunk has the header that was agreed on, in reply to a request at this offset.
    pub(crate) fn check(self, found: ChunkForm, offset: u64) -> Result<(), Violation> {
        match (self, found) {
            (Self::Structured, ChunkForm::Structured) => Ok(()),
            (Self::Extended, ChunkForm::Extended { offset: echoed }) if echoed == offset => Ok(()),
            (Self::Extended, ChunkForm::Extended { offset: found }) => {
                Err(Violation::OtherOffset { sent: offset, found })
            }
            (Self::Extended, ChunkForm::Structured) => Err(Violation::NotExtended),
            (_, ChunkForm::Extended { .. }) => Err(Violation::ExtendedUnasked),
            (Self::Simple, ChunkForm::Structured) => Err(Violation::Unasked),
        }
    }
}

/// A request as it will be sent, whatever the server has offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What to do.
    pub command: Command,
    /// How. With extended headers, what has a payload gets PAYLOAD_LEN by itself.
    pub flags: CommandFlags,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes; of a write, the length of its data. More than 32 bits take extended
    /// headers.
    pub length: u64,
    /// The data of a write.
    pub data: Vec<u8>,
    /// The ids of the contexts that a block status is to tell of, rather than of all; takes
    /// extended headers.
    pub ids: Vec<u32>,
}

impl Call {
    /// A call without flags and payload.
    #[must_use]
    pub fn new(command: Command, offset: u64, length: u64) -> Self {
        let (flags, data, ids) = Default::default();
        Self { command, flags, offset, length, data, ids }
    }

    /// A write.
    #[must_use]
    pub fn write(offset: u64, data: Vec<u8>) -> Self {
        Self { length: data.len() as u64, data, ..Self::new(Command::WRITE, offset, 0) }
    }

    /// The same with flags.
    #[must_use]
    pub fn with_flags(mut self, flags: CommandFlags) -> Self {
        self.flags = flags;
        self
    }

    /// The same about these contexts only.
    #[must_use]
    pub fn with_ids(mut self, ids: Vec<u32>) -> Self {
        self.ids = ids;
        self
    }
}

#[cfg(test)]
mod tests {
    use protocol::codec::{self, Limits, Step};

    use super::*;

    fn decoded(form: Form, call: &Call) -> Request {
        let bytes = form.header(call, Cookie(7)).unwrap();
        match codec::request(&bytes, Limits::default()) {
            Ok(Step::Ready(request, taken)) if taken == bytes.len() => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_has_a_payload_says_so() {
        let payload = |form, call| {
            let request = decoded(form, &call);
            (request.flags.has(CommandFlags::PAYLOAD_LEN), request.length)
        };
        let status = || Call::new(Command::BLOCK_STATUS, 0, 1 << 40);
        assert_eq!(payload(Form::Extended, Call::write(0, vec![1; 9])), (true, 9));
        assert_eq!(payload(Form::Structured, Call::write(0, vec![1; 9])), (false, 9));
        assert_eq!(payload(Form::Extended, Call::new(Command::READ, 0, 9)), (false, 9));
        assert_eq!(payload(Form::Extended, status()), (false, 1 << 40));
        assert_eq!(payload(Form::Extended, status().with_ids(vec![3, 4])), (true, 16));
        let request = decoded(Form::Extended, &status().with_ids(vec![3, 4]));
        let named = StatusPayload { effect_length: 1 << 40, ids: vec![3, 4] };
        assert_eq!(request.status, Some(named));
    }

    #[test]
    fn compact_headers_have_no_room_for_more_than_32_bits() {
        let long = Call::new(Command::TRIM, 0, 1 << 32);
        let named = Call::new(Command::BLOCK_STATUS, 0, 512).with_ids(vec![1]);
        for form in [Form::Simple, Form::Structured] {
            assert!(form.header(&long, Cookie(1)).is_err());
            assert!(form.header(&named, Cookie(1)).is_err());
            assert_eq!(decoded(form, &Call::new(Command::TRIM, 5, 6)).form, RequestForm::Compact);
        }
        assert_eq!(decoded(Form::Extended, &long).length, 1 << 32);
    }

    #[test]
    fn a_chunk_has_the_header_that_was_agreed_on() {
        let extended = |offset| ChunkForm::Extended { offset };
        for (form, found, checked) in [
            (Form::Structured, ChunkForm::Structured, Ok(())),
            (Form::Extended, extended(5), Ok(())),
            (Form::Extended, extended(0), Err(Violation::OtherOffset { sent: 5, found: 0 })),
            (Form::Extended, ChunkForm::Structured, Err(Violation::NotExtended)),
            (Form::Structured, extended(5), Err(Violation::ExtendedUnasked)),
            (Form::Simple, ChunkForm::Structured, Err(Violation::Unasked)),
            (Form::Simple, extended(5), Err(Violation::ExtendedUnasked)),
        ] {
            assert_eq!(form.check(found, 5), checked, "{form:?} {found:?}");
        }
    }
}
