//! Comparing what is read with what was written: what the judge asks of [`Written`].

use protocol::message::{Cookie, Message, Side};

use super::commands::{self, CommandRow, Payload};
use super::event::ProblemKind;
use super::flight::InFlight;
use super::judge::Session;
use super::written::{Compare, Contents, Contradiction, Written};

/// What is written at once, in bytes; more is not compared.
const LONGEST_WRITE: u64 = 1 << 28;
/// So many replies in pieces may be in doubt at once.
const DOUBTS: usize = 64;

impl Session {
    /// From here on nothing that is read is compared with what was written: something that the
    /// session was told may not be what the parties saw.
    pub fn forget_written(&mut self) {
        self.written = None;
    }

    /// What is compared, unless something was not seen.
    fn comparable(&mut self) -> Option<&mut Written> {
        if self.written.is_some() {
            let sides = [Side::Client, Side::Server];
            let all = sides.into_iter().all(|side| self.follows(side) && !self.is_patchy(side));
            if !all || self.flight.is_incomplete() {
                self.written = None;
            }
        }
        self.written.as_deref_mut()
    }

    /// A request that will be answered.
    pub(super) fn changes(&mut self, request: &InFlight) {
        let Some(written) = self.comparable() else { return };
        let InFlight { command, offset, length, .. } = *request;
        let Some(end) = offset.checked_add(length) else { return self.forget_written() };
        let too_many = match commands::row(command) {
            // Nobody knows what it does.
            None => true,
            Some(row) if !row.may_write() => false,
            Some(row) if is_compared(row, length) => {
                written.begin_write(offset..end);
                false
            }
            Some(_) => written.begin_wipe(offset..end),
        };
        if too_many {
            self.forget_written();
        }
    }

    /// A request is answered, with success or not.
    pub(super) fn changed(&mut self, request: &InFlight, ok: bool) {
        let reply = self.out.next_number();
        let Some(written) = self.comparable() else { return };
        let range = request.offset..request.end();
        match commands::row(request.command) {
            Some(row) if is_compared(row, request.length) => {
                let write = request.number.unwrap_or(0);
                written.end_write(range, ok && write != 0, write, reply);
            }
            Some(row) if row.may_write() => written.end_wipe(&range),
            _ => {}
        }
    }

    /// A part of the reply to `request`; `whole`: it is the last one, `ok`: nothing is wrong so far.
    pub(super) fn comparison(
        &mut self,
        request: &InFlight,
        cookie: Cookie,
        whole: bool,
        ok: bool,
    ) -> Option<Compare> {
        let written = self.comparable()?;
        if commands::payload(request.command) != Payload::Reply {
            return None;
        }
        if !ok {
            written.take_doubt(cookie);
            return None;
        }
        Some(Compare { cookie, read: request.number?, last: whole })
    }

    /// What to make of the bulk of a message.
    pub(super) fn contents(
        &mut self,
        message: &Message,
        at: u64,
        compare: Option<Compare>,
    ) -> Option<Box<Contents>> {
        self.written.as_ref()?;
        let writes = matches!(message, Message::Request(it) if commands::payload(it.command) == Payload::Request);
        (writes || compare.is_some())
            .then(|| Box::new(Contents { at, compare, digest: None, found: None }))
    }

    /// A reply without bulk was told.
    pub(super) fn compare_hole(&mut self, body: Option<(u64, u32)>, compare: Compare) {
        let Some(written) = self.comparable() else { return };
        let found = body.and_then(|(offset, size)| {
            let range = offset..offset.checked_add(u64::from(size))?;
            written.compare_zeroes(&range, compare.read)
        });
        self.compared(compare, found);
    }

    /// A message whose bulk was compared was told.
    pub(super) fn contents_end(&mut self, contents: &Contents) {
        if let Some(compare) = contents.compare {
            self.compared(compare, contents.found);
        }
    }

    fn compared(&mut self, compare: Compare, found: Option<Contradiction>) {
        let Compare { cookie, read, last } = compare;
        let message = self.out.messages;
        let Some(written) = self.comparable() else { return };
        if !last {
            if let Some(found) = found
                && written.doubts.len() < DOUBTS
            {
                written.doubts.push((cookie, found));
            }
            return;
        }
        let doubt = written.take_doubt(cookie);
        if let Some(Contradiction { offset, write }) = doubt.or(found) {
            let text = format!(
                "message {message}, the data that message {read} read, differs from the write at \
                 message {write}, from block offset={offset} on (write-stored, unless something \
                 that was not seen wrote as well)"
            );
            self.problem(ProblemKind::DataDiffers, Side::Server, text);
        }
    }
}

/// Whether what a command writes is compared with what is read.
fn is_compared(row: &CommandRow, length: u64) -> bool {
    row.payload == Payload::Request && length <= LONGEST_WRITE
}
