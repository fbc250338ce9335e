//! How much a server gives in reply to one READ. Who refuses less than it has told, or less than
//! the default, breaks one rule, which scenarios of their own are about; the others keep to what it
//! serves. Where only one place can't be read, the device is at fault.

use protocol::values::{DEFAULT_MAXIMUM_PAYLOAD, ErrorCode};

use super::asker::{Answer, Asker, asked};
use super::fact::{Fact, NoAnswer};
use super::surveyor::Surveyor;
use super::way::Way;
use crate::excuse;

/// What is tried after the most that the server has to serve, in bytes.
const STEPS: [u64; 4] = [1 << 20, 64 << 10, 16 << 10, 4 << 10];

/// Reads from the start of the export: the most that has to be served, or else less. `block` is
/// served.
pub(super) async fn look<'a>(surveyor: &mut Surveyor<'a>, way: &Way<'a>, block: u64) {
    let limits = surveyor.found.limits();
    let most = limits.maximum.min(u64::from(DEFAULT_MAXIMUM_PAYLOAD)).min(limits.end());
    let most = most / block * block;
    let mut reader = Reader { surveyor, way, asker: None };
    let served = served(&mut reader, most, block).await;
    let Reader { asker, surveyor, .. } = reader;
    if let Some(asker) = asker {
        surveyor.leave(asker).await;
    }
    match served {
        Ok(Served::Most) | Err(_) => {}
        Ok(Served::UpTo(length, refused)) => {
            surveyor.found.served = Some(length);
            surveyor.found.lines.push(refused);
        }
        Ok(Served::BadAt(line)) => surveyor.found.reads = Fact::Refused(line),
    }
}

/// What is served.
enum Served {
    /// All that has to be.
    Most,
    /// Not more than this, and the line that refuses more.
    UpTo(u64, String),
    /// Something can't be read, however small the request: the line that says so.
    BadAt(String),
}

async fn served(reader: &mut Reader<'_, '_>, most: u64, block: u64) -> Result<Served, NoAnswer> {
    let mut fails = false;
    let mut refused = None;
    let steps = STEPS.map(|step| step / block * block);
    let steps = steps.into_iter().filter(|step| (block + 1..most).contains(step));
    let mut works = block;
    for length in [most].into_iter().filter(|most| *most > block).chain(steps) {
        match reader.read(0, length).await? {
            Some(answer) if answer.error == ErrorCode::OK => {
                works = length;
                break;
            }
            Some(answer) => {
                fails |= excuse::of(answer.error).is_some();
                refused = Some(format!("{} {}", asked("READ", 0, length), answer.line));
            }
            None => refused = Some(format!("{} S: close", asked("READ", 0, length))),
        }
    }
    let Some(refused) = refused else { return Ok(Served::Most) };
    if fails && let Some(line) = bad(reader, works, most, block).await? {
        return Ok(Served::BadAt(line));
    }
    Ok(Served::UpTo(works, refused))
}

/// A block that can't be read, if there is one: a stretch that fails is halved until it is as long
/// as a block.
async fn bad(
    reader: &mut Reader<'_, '_>,
    works: u64,
    most: u64,
    block: u64,
) -> Result<Option<String>, NoAnswer> {
    let (mut from, mut to) = (works, most);
    while to - from > block {
        let middle = from + (to - from).div_ceil(2).next_multiple_of(block);
        let half = reader.read(from, middle.min(to) - from).await?;
        if half.is_some_and(|half| half.error == ErrorCode::OK) {
            from = middle;
        } else {
            to = middle.min(to);
        }
        if from >= to {
            return Ok(None);
        }
    }
    let last = reader.read(from, to - from).await?;
    let failed = last.filter(|last| excuse::of(last.error).is_some());
    Ok(failed.map(|last| format!("{} {}", asked("READ", from, to - from), last.line)))
}

/// Reads, on a new connection where the last one has ended.
struct Reader<'r, 'a> {
    surveyor: &'r mut Surveyor<'a>,
    way: &'r Way<'a>,
    asker: Option<Asker>,
}

impl Reader<'_, '_> {
    /// `None` if the server ended the connection.
    async fn read(&mut self, offset: u64, length: u64) -> Result<Option<Answer>, NoAnswer> {
        let mut asker = match self.asker.take() {
            Some(asker) => asker,
            None => {
                let limit = self.surveyor.patience()?;
                self.surveyor.enter_by(self.way, limit).await?.0
            }
        };
        match asker.read(offset, length).await {
            Ok(answer) => {
                self.asker = Some(asker);
                Ok(Some(answer))
            }
            Err(NoAnswer::Ended(_)) => {
                self.surveyor.leave(asker).await;
                Ok(None)
            }
            Err(error) => {
                self.surveyor.leave(asker).await;
                Err(error)
            }
        }
    }
}
