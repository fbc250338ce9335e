//! Whether an export can be read and written, and what becomes of what was written.

use std::time::{Duration, Instant};

use protocol::payload::{Part, Payload, recognize};
use protocol::values::{ErrorCode, TransmissionFlags};

use super::asker::{Answer, Asker, asked};
use super::capacity;
use super::fact::{Fact, NoAnswer};
use super::kept::Kept;
use super::largest;
use super::surveyor::Surveyor;
use super::way::Way;
use crate::excuse;
use crate::link::End;

/// What is written to see whether it stays.
const SEED: u16 = 0x7e57;
/// How long after a write it is looked whether it has been carried out since.
const LATE: Duration = Duration::from_millis(300);
/// How often the first block is read.
const READS: usize = 4;

/// Reads; writes and reads back, where that is allowed; and counts connections, where that is asked.
pub(super) async fn look(surveyor: &mut Surveyor<'_>) {
    let Some(way) = surveyor.way() else {
        let why = "the export can't be entered".to_owned();
        surveyor.found.reads = Fact::Unknown(why);
        return;
    };
    let found = &surveyor.found;
    let block = found.block().min(found.maximum());
    if block == 0 {
        let why = format!(
            "no request is lawful: the export has {} bytes, its minimum block size is {}",
            found.size,
            found.minimum()
        );
        surveyor.found.reads = Fact::Unknown(why.clone());
        surveyor.found.writes = Fact::Unknown(why);
    } else {
        surveyor.asking("NBD_CMD_READ");
        let seen = read(surveyor, &way, block).await;
        surveyor.found.reads = seen.reads.clone();
        if let Some(changes) = seen.changes.clone() {
            surveyor.found.kept = Kept::Changes(changes);
        }
        let read_only = surveyor.found.flags.has(TransmissionFlags::READ_ONLY);
        let readable = surveyor.found.reads.known().is_some();
        if surveyor.ask.write && !read_only && readable {
            surveyor.asking("NBD_CMD_WRITE");
            write(surveyor, &way, block, &seen).await;
        }
        if readable {
            surveyor.asking("a large NBD_CMD_READ");
            largest::look(surveyor, &way, block).await;
        }
    }
    if !surveyor.ask.places {
        return;
    }
    surveyor.asking("several connections at once");
    // Who answers no request serves as many as it lets in.
    let asked = if surveyor.found.unserved { 0 } else { block };
    let capacity = capacity::count(surveyor, &way, asked).await;
    surveyor.found.capacity = Some(capacity);
    if capacity > 1 {
        surveyor.found.haggles_alone = capacity::haggles_alone(surveyor, &way, asked).await;
    }
}

#[derive(Default)]
struct Seen {
    reads: Fact<()>,
    /// How two reads differ.
    changes: Option<String>,
    /// The first block.
    before: Vec<u8>,
    /// What was read elsewhere, and where.
    elsewhere: Vec<(u64, Vec<u8>)>,
    /// How long the fastest of these reads took.
    fastest: Option<Duration>,
}

/// Reads the first block several times, one in the middle and the last.
async fn read(surveyor: &mut Surveyor<'_>, way: &Way<'_>, block: u64) -> Seen {
    let mut seen = Seen::default();
    let read = async {
        let limit = surveyor.patience()?;
        let (mut asker, _) = surveyor.enter_by(way, limit).await?;
        let size = surveyor.found.size;
        let minimum = surveyor.found.minimum();
        let middle = size / 2 / block * block;
        let last = size.saturating_sub(block) / minimum * minimum;
        let places = [0; READS].into_iter().chain([middle, last]);
        let told = look_at(&mut asker, block, places, &mut seen).await;
        surveyor.found.latency = seen.fastest.unwrap_or_default();
        surveyor.leave(asker).await;
        told
    };
    if let Err(error) = read.await {
        surveyor.found.unserved = seen.before.is_empty()
            && match error {
                NoAnswer::Silent(waited) => waited >= surveyor.ask.limit,
                NoAnswer::Ended(end) => matches!(end, End::Stalled(..)),
                _ => false,
            };
        surveyor.count(Some(&error));
        seen.reads = Fact::Unknown(format!("{}: {error}", asked("READ", 0, block)));
    }
    seen
}

async fn look_at(
    asker: &mut Asker,
    block: u64,
    places: impl Iterator<Item = u64>,
    seen: &mut Seen,
) -> Result<(), NoAnswer> {
    for offset in places {
        let began = Instant::now();
        let answer = asker.read(offset, block).await?;
        let took = began.elapsed();
        seen.fastest = Some(seen.fastest.map_or(took, |fastest| fastest.min(took)));
        if answer.error != ErrorCode::OK {
            let line = format!("{} {}", asked("READ", offset, block), answer.line);
            // Other errors are the server's, not the device's.
            seen.reads = match excuse::of(answer.error).is_some() {
                true => Fact::Refused(line),
                false => Fact::Unknown(line),
            };
            return Ok(());
        }
        if offset == 0 && seen.before.is_empty() {
            seen.reads = Fact::Known((), answer.line);
            seen.before = answer.data;
        } else if offset != 0 {
            seen.elsewhere.push((offset, answer.data));
        } else if seen.before != answer.data {
            seen.changes = Some(format!(
                "{} reads {}, and then {}, though nothing was written",
                asked("READ", 0, block),
                recognize(0, &seen.before),
                recognize(0, &answer.data)
            ));
        }
    }
    Ok(())
}

/// Writes a block and reads it: on the same connection, on one that was open before, on a later one.
async fn write(surveyor: &mut Surveyor<'_>, way: &Way<'_>, block: u64, seen: &Seen) {
    match tried(surveyor, way, block, seen).await {
        Ok(()) => {}
        Err(error) => {
            surveyor.count(Some(&error));
            let why = format!("{}: {error}", asked("WRITE", 0, block));
            let found = &mut surveyor.found;
            if found.writes.known().is_none() {
                found.writes = Fact::Unknown(why.clone());
            }
            if matches!(found.kept, Kept::Unknown(_)) {
                found.kept = Kept::Unknown(why);
            }
        }
    }
}

async fn tried(
    surveyor: &mut Surveyor<'_>,
    way: &Way<'_>,
    block: u64,
    seen: &Seen,
) -> Result<(), NoAnswer> {
    let before = seen.before.as_slice();
    let limit = surveyor.patience()?;
    let (mut writer, _) = surveyor.enter_by(way, limit).await?;
    // There may be no place for a second one.
    let mut other = way.enter(surveyor.briefly()?).await.ok().map(|(asker, _)| asker);
    let with = |seed| Payload(vec![Part::Place(seed, block)]);
    // It may be there since the last time.
    let fresh = with(SEED).first_difference(0, before).is_some();
    let pattern = with(if fresh { SEED } else { SEED + 1 });
    let mut written = write_and_read(surveyor, &mut writer, block, &pattern).await;
    if !matches!(surveyor.found.kept, Kept::Changes(_))
        && matches!(written, Ok(Some(_)))
        && let Err(error) = write_elsewhere(surveyor, &mut writer, &seen.elsewhere).await
    {
        written = Err(error);
    }
    let beside = match (&written, &mut other) {
        (Ok(Some(_)), Some(other)) => other.read(0, block).await.ok(),
        _ => None,
    };
    surveyor.leave(writer).await;
    if let Some(other) = other {
        surveyor.leave(other).await;
    }
    let Some(same) = written? else { return Ok(()) };
    if matches!(surveyor.found.kept, Kept::Changes(_)) {
        return Ok(());
    }
    let limit = surveyor.patience()?;
    let (mut later, _) = surveyor.enter_by(way, limit).await?;
    let after = later.read(0, block).await;
    surveyor.leave(later).await;
    let shared = surveyor.found.flags.has(TransmissionFlags::CAN_MULTI_CONN);
    let kept = judge(&pattern, before, &same, beside.filter(|_| !shared).as_ref(), &after?);
    surveyor.found.kept = match kept {
        Kept::Nothing(why) | Kept::Private(why) if comes_late(surveyor, way, &pattern).await => {
            Kept::Wrong(format!("{why}, and a while later what was written"))
        }
        // Who says that connections may be mixed may not keep them apart.
        Kept::Private(why) if shared => Kept::Wrong(why),
        kept => kept,
    };
    Ok(())
}

/// Whether what was written is there after a while, on a connection of its own: a device that keeps
/// nothing is one thing, and a write that is answered before it is carried out another.
async fn comes_late(surveyor: &mut Surveyor<'_>, way: &Way<'_>, pattern: &Payload) -> bool {
    tokio::time::sleep(LATE).await;
    let Ok(limit) = surveyor.patience() else { return false };
    let Ok((mut asker, _)) = surveyor.enter_by(way, limit).await else { return false };
    let read = asker.read(0, pattern.length()).await;
    surveyor.leave(asker).await;
    matches!(&read, Ok(answer) if answer.error == ErrorCode::OK
        && pattern.first_difference(0, &answer.data).is_none())
}

/// `None` if the write was refused.
async fn write_and_read(
    surveyor: &mut Surveyor<'_>,
    writer: &mut Asker,
    block: u64,
    pattern: &Payload,
) -> Result<Option<Answer>, NoAnswer> {
    let answer = writer.write(0, pattern.clone()).await?;
    let line = format!("{} {}", asked("WRITE", 0, block), answer.line);
    if answer.error != ErrorCode::OK {
        surveyor.found.writes = match refuses_writes(answer.error) {
            true => Fact::Refused(line),
            false => Fact::Unknown(line),
        };
        return Ok(None);
    }
    surveyor.found.writes = Fact::Known((), answer.line);
    if surveyor.found.flags.has(TransmissionFlags::SEND_FLUSH) {
        writer.flush().await?;
    }
    Ok(Some(writer.read(0, block).await?))
}

/// Writes to other places, and then again what was read there: a device may have less room than it
/// has size, or protect a part.
async fn write_elsewhere(
    surveyor: &mut Surveyor<'_>,
    writer: &mut Asker,
    places: &[(u64, Vec<u8>)],
) -> Result<(), NoAnswer> {
    for (offset, data) in places {
        let length = data.len() as u64;
        // Zeroes may need no room.
        let answer = writer.write(*offset, Payload(vec![Part::Place(SEED, length)])).await?;
        if refuses_writes(answer.error) {
            let line = format!("{} {}", asked("WRITE", *offset, length), answer.line);
            surveyor.found.writes = Fact::Refused(line);
            break;
        }
        writer.write(*offset, Payload(vec![Part::Hex(data.clone())])).await?;
    }
    Ok(())
}

/// What the reads after a write tell: on the same connection, on one that was open meanwhile, on a
/// later one.
fn judge(
    pattern: &Payload,
    before: &[u8],
    same: &Answer,
    beside: Option<&Answer>,
    after: &Answer,
) -> Kept {
    let holds = |answer: &Answer| {
        answer.error == ErrorCode::OK && pattern.first_difference(0, &answer.data).is_none()
    };
    let tell = |when: &str, answer: &Answer| {
        let read = match answer.error {
            ErrorCode::OK => recognize(0, &answer.data).to_string(),
            error => error.to_string(),
        };
        format!(
            "C: NBD_CMD_WRITE offset=0 data={pattern} is acknowledged, {when} then reads {read}"
        )
    };
    if !holds(same) {
        let told = tell("the same connection", same);
        let immutable = same.error == ErrorCode::OK
            && (same.data == before || same.data.iter().all(|byte| *byte == 0));
        return if immutable { Kept::Nothing(told) } else { Kept::Wrong(told) };
    }
    if !holds(after) {
        return Kept::Private(tell("a later connection", after));
    }
    match beside {
        Some(beside) if !holds(beside) => Kept::Apart(tell("another connection", beside)),
        _ => Kept::Yes,
    }
}

/// Whether an error says that the device takes no such write. An export may be read-only without the
/// flag that says so, which is a MAY.
fn refuses_writes(error: ErrorCode) -> bool {
    excuse::of(error).is_some() || error == ErrorCode::EPERM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &Payload) -> Answer {
        let mut data = vec![0; 512];
        payload.fill(0, 0, &mut data);
        Answer { error: ErrorCode::OK, data, line: String::new() }
    }

    #[test]
    fn each_odd_device_is_told_by_what_it_gives_back() {
        let pattern = Payload(vec![Part::Place(SEED, 512)]);
        let (kept, old) = (answer(&pattern), answer(&Payload(vec![Part::Fill(7, 512)])));
        let zero = answer(&Payload(vec![Part::Zero(512)]));
        let judge = |same: &Answer, beside: Option<&Answer>, after: &Answer| {
            super::judge(&pattern, &old.data, same, beside, after)
        };
        assert_eq!(judge(&kept, Some(&kept), &kept), Kept::Yes);
        assert_eq!(judge(&kept, None, &kept), Kept::Yes);
        assert!(matches!(judge(&kept, Some(&old), &kept), Kept::Apart(_)));
        assert!(matches!(judge(&kept, Some(&old), &old), Kept::Private(_)));
        assert!(matches!(judge(&old, Some(&old), &old), Kept::Nothing(_)));
        let Kept::Nothing(told) = judge(&zero, None, &zero) else { panic!() };
        insta::assert_snapshot!(told, @"C: NBD_CMD_WRITE offset=0 data=place(32343)*512 is acknowledged, the same connection then reads zero*512");
        let rubbish = answer(&Payload(vec![Part::Fill(8, 512)]));
        assert!(matches!(judge(&rubbish, None, &rubbish), Kept::Wrong(_)));
    }
}
