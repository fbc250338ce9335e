//! Which parts of an export may have been changed by what was sent.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::build::Built;
use protocol::message::Message;
use protocol::values::Command;

/// More stretches than that count as everything.
const STRETCHES: usize = 256;

/// The stretches of an export that requests may have changed, on any of the connections that share
/// it.
#[derive(Debug, Clone, Default)]
pub struct Touched(Arc<Mutex<Stretches>>);

#[derive(Debug, Default)]
struct Stretches {
    /// Offsets in bytes, in the order in which they were sent.
    known: Vec<Range<u64>>,
    /// Anything may have been changed.
    everything: bool,
}

impl Touched {
    /// The stretches; `None` if that may be everything.
    #[must_use]
    pub fn stretches(&self) -> Option<Vec<Range<u64>>> {
        let stretches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!stretches.everything).then(|| stretches.known.clone())
    }

    /// Bytes are sent that are no message.
    pub(super) fn anywhere(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).everything = true;
    }

    /// A message is sent.
    pub(super) fn by(&self, built: &Built) {
        let Message::Request(request) = &built.message else { return };
        if built.announced_length.is_some() || built.magic.is_some() {
            return self.anywhere();
        }
        match request.command {
            Command::READ
            | Command::DISC
            | Command::FLUSH
            | Command::CACHE
            | Command::BLOCK_STATUS => {}
            Command::WRITE | Command::TRIM | Command::WRITE_ZEROES => {
                let payload = built.payload.as_ref().map_or(0, |payload| payload.length());
                let length = request.length.max(payload);
                self.stretch(request.offset..request.offset.saturating_add(length));
            }
            _ => self.anywhere(),
        }
    }

    fn stretch(&self, stretch: Range<u64>) {
        let mut stretches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = stretches.known.last_mut()
            && last.start <= stretch.start
            && stretch.start <= last.end
        {
            last.end = last.end.max(stretch.end);
        } else if stretches.known.len() < STRETCHES {
            stretches.known.push(stretch);
        } else {
            stretches.everything = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::message::{Cookie, Request, RequestForm};
    use protocol::values::CommandFlags;

    use super::*;
    use crate::link::plain;

    fn send(touched: &Touched, command: Command, offset: u64, length: u64) {
        let request = Request {
            form: RequestForm::Compact,
            flags: CommandFlags::EMPTY,
            command,
            cookie: Cookie(1),
            offset,
            length,
            status: None,
        };
        touched.by(&plain(Message::Request(request)));
    }

    #[test]
    fn only_requests_that_write_touch_something() {
        let touched = Touched::default();
        send(&touched, Command::READ, 0, 512);
        send(&touched, Command::WRITE, 512, 512);
        send(&touched, Command::TRIM, 1024, 512);
        send(&touched, Command::WRITE_ZEROES, 8192, u64::MAX);
        assert_eq!(touched.stretches(), Some(vec![512..1536, 8192..u64::MAX]));
        send(&touched, Command(0x77), 0, 1);
        assert_eq!(touched.stretches(), None);
    }

    #[test]
    fn too_many_stretches_are_everything() {
        let touched = Touched::default();
        for n in 0..=STRETCHES as u64 {
            send(&touched, Command::WRITE, n * 1024, 1);
        }
        assert_eq!(touched.stretches(), None);
    }
}
