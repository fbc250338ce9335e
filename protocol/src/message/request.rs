//! Requests, compact and extended (sections "Request message" and "Extended request message").

use super::cookie::Cookie;
use super::parts::{COOKIE, Fallback, Grammar, Held, Part, Show, Source, Words, part};
use crate::build::{Context, Fields, Made, at_most};
use crate::cursor::{
    BadMagic, Cursor, Decoded, Limits, Step, be16, be32, be64, first, in_memory, low32,
};
use crate::describe::Kind;
use crate::values::{Command, CommandFlags, EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC};

/// The two forms of request header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestForm {
    /// 28 bytes, 32-bit length.
    Compact,
    /// 32 bytes, 64-bit length (extension "extended headers").
    Extended,
}

/// A request (section "Request message").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which header.
    pub form: RequestForm,
    /// Command flags.
    pub flags: CommandFlags,
    /// What to do.
    pub command: Command,
    /// Ties replies to this request.
    pub cookie: Cookie,
    /// Where, in bytes from the start of the export.
    pub offset: u64,
    /// How much, in bytes; below 2^32 in the compact form.
    pub length: u64,
    /// The payload form of `NBD_CMD_BLOCK_STATUS`, which is small; `None` for everything else.
    pub status: Option<StatusPayload>,
}

/// What `NBD_CMD_BLOCK_STATUS` carries with `PAYLOAD_LEN` (extension "extended headers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPayload {
    /// How much of the export is asked about, in bytes.
    pub effect_length: u64,
    /// The contexts that are wanted.
    pub ids: Vec<u32>,
}

const FLAGS: Part = part("flags").or(Fallback::Blank);
const OFFSET: Part = part("offset").or(Fallback::Blank);
const LENGTH: Part = part("length");
const EFFECT_LENGTH: Part = part("effect-length").on_wire("effect length");
const IDS: Part = part("ids").on_wire("id").or(Fallback::Blank);

impl Request {
    /// A request without flags at offset 0 and of length 0, as `NBD_CMD_DISC` and `NBD_CMD_FLUSH` are.
    #[must_use]
    pub const fn bare(form: RequestForm, command: Command, cookie: Cookie) -> Self {
        Self {
            form,
            flags: CommandFlags::EMPTY,
            command,
            cookie,
            offset: 0,
            length: 0,
            status: None,
        }
    }

    /// How many bytes of payload follow the header, whatever their form.
    ///
    /// An extended write has its payload also where the client left out `PAYLOAD_LEN`, which it
    /// must not (`ext-write-payload-flag`): the clients of qemu 8.2 to 10.0 do, and servers put up
    /// with it.
    #[must_use]
    pub fn payload_length(&self) -> u64 {
        let carries =
            self.command == Command::WRITE || (self.is_extended() && self.has_payload_flag());
        if carries { self.length } else { 0 }
    }

    fn is_extended(&self) -> bool {
        self.form == RequestForm::Extended
    }

    fn has_payload_flag(&self) -> bool {
        self.flags.has(CommandFlags::PAYLOAD_LEN)
    }

    pub(super) fn show(&self, to: &mut impl Show) {
        let extended = self.is_extended();
        to.form(if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC }, extended);
        // An extended write without PAYLOAD_LEN tells so, even with no flag at all: it is a fault.
        let faulty = extended && self.command == Command::WRITE && !self.has_payload_flag();
        to.part_if(self.flags != CommandFlags::EMPTY || faulty, &FLAGS, &self.flags);
        to.word("type", &self.command.0.to_be_bytes(), self.command);
        to.part(&COOKIE, &self.cookie);
        to.part(&OFFSET, &self.offset);
        if extended {
            to.part(&LENGTH, &self.length);
        } else {
            to.part(&LENGTH, &low32(self.length));
        }
        match &self.status {
            Some(status) => {
                to.part(&EFFECT_LENGTH, &status.effect_length);
                to.part(&IDS, &status.ids);
            }
            None if self.payload_length() > 0 => to.bulk(self.payload_length()),
            None => {}
        }
    }

    pub(super) fn words(&self) -> Words {
        let kind = if self.is_extended() { Kind::ExtendedRequest } else { Kind::Request };
        Words(kind, self.command.label(), None)
    }
}

impl StatusPayload {
    fn of<S: Source>(from: &mut S) -> Result<Self, S::Error> {
        Ok(Self { effect_length: from.part(&EFFECT_LENGTH)?, ids: from.part(&IDS)? })
    }
}

/// Decodes a request, compact or extended by its magic. The payload of a write is bulk.
///
/// # Errors
/// The magic is neither request's.
pub fn decode(bytes: &[u8], limits: Limits) -> Decoded<Request> {
    let magic = u32::from_be_bytes(first!(bytes, 4));
    let (form, size) = match magic {
        REQUEST_MAGIC => (RequestForm::Compact, 28),
        EXTENDED_REQUEST_MAGIC => (RequestForm::Extended, 32),
        _ => {
            let found = u64::from(magic);
            return Err(BadMagic { expected: "a request magic", found, bytes: 4, at: 0 });
        }
    };
    let Some(header) = bytes.get(..size) else {
        return Ok(Step::Need(size - bytes.len()));
    };
    let mut request = Request {
        form,
        flags: CommandFlags(be16(header, 4)),
        command: Command(be16(header, 6)),
        cookie: Cookie(be64(header, 8)),
        offset: be64(header, 16),
        length: match form {
            RequestForm::Compact => u64::from(be32(header, 24)),
            RequestForm::Extended => be64(header, 24),
        },
        status: None,
    };
    let payload = request.payload_length();
    if request.command == Command::BLOCK_STATUS
        && payload >= 8
        && payload.is_multiple_of(4)
        && payload <= u64::from(limits.option)
    {
        let total = size + in_memory(payload);
        let Some(data) = bytes.get(size..total) else {
            return Ok(Step::Need(total - bytes.len()));
        };
        request.status = StatusPayload::of(&mut Cursor::new(data, "length")).ok();
        return Ok(Step::Ready(request, total));
    }
    Ok(Step::Ready(request, size))
}

/// The fields of a line about this command.
pub(crate) fn fields(command: Command) -> Grammar {
    let mut fields = Grammar::default();
    fields.form();
    fields.add_part::<Cookie>(&COOKIE);
    fields.add_part::<CommandFlags>(&FLAGS);
    fields.add_part::<u64>(&OFFSET);
    fields.add_part::<u64>(&LENGTH);
    if command == Command::BLOCK_STATUS {
        fields.extend(Grammar::of(StatusPayload::of));
    }
    fields.data_and_lies(None, u32::KIND);
    fields
}

/// What a line about this command says.
pub(crate) fn build(command: Command, fields: &mut Fields<'_>, context: &Context) -> Made<Request> {
    let extended = fields.extended()?.unwrap_or(context.extended);
    let mut flags: CommandFlags = fields.part(&FLAGS)?;
    let payload = fields.payload()?;
    let mut status = None;
    if fields.has(EFFECT_LENGTH.key) || fields.has(IDS.key) {
        fields.refuse("data", "`effect-length` and `ids` are the whole payload")?;
        status = Some(StatusPayload::of(fields)?);
    }
    // A write that spells everything out means it: some clients leave PAYLOAD_LEN out.
    let literal =
        command == Command::WRITE && ["form", "flags", "length"].iter().all(|key| fields.has(key));
    if extended && !literal && (payload.is_some() || status.is_some()) {
        flags = flags.with(CommandFlags::PAYLOAD_LEN);
    }
    if !extended && command != Command::WRITE {
        fields.refuse("data", "only a write has a payload in the compact form")?;
        fields.refuse("effect-length", "only an extended request carries it")?;
    }
    let default = match (&payload, &status, command) {
        (Some(payload), ..) => Some(payload.length()),
        (None, Some(status), _) => Some(8 + 4 * status.ids.len() as u64),
        (
            None,
            None,
            Command::READ
            | Command::WRITE
            | Command::TRIM
            | Command::CACHE
            | Command::WRITE_ZEROES
            | Command::BLOCK_STATUS,
        ) => None,
        _ => Some(0),
    };
    let Some(length) = fields.find(&LENGTH)?.or(default) else {
        return Err(fields.missing(if command == Command::WRITE { "data" } else { LENGTH.key }));
    };
    if !extended {
        at_most(LENGTH.key, length, u32::MAX.into())?;
    }
    let request = Request {
        form: if extended { RequestForm::Extended } else { RequestForm::Compact },
        flags,
        command,
        cookie: fields.part_or(&COOKIE, context.cookie)?,
        offset: fields.part(&OFFSET)?,
        length,
        status,
    };
    if request.payload_length() > 0 && payload.is_none() && request.status.is_none() {
        return Err(fields.missing("data"));
    }
    Ok((request, payload))
}
