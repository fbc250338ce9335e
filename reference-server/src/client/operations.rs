//! What a client can ask for, in as many requests as it takes.

use protocol::values::{Command, CommandFlags, TransmissionFlags};
use tokio::task::JoinSet;

use super::error::ClientError;
use super::request::Call;
use super::transmission::Client;
use crate::export::BlockSizes;
use crate::habits::Alignment;
use crate::missteps::{DataFault, RequestFault};

/// The longest read that comes in one piece where DF is set, in bytes.
const WHOLE: u64 = 65_536;
/// What all clients should keep to, in bytes.
const PORTABLE: u64 = 512;

impl Client {
    /// `NBD_CMD_READ`, in as many requests as the maximum payload demands.
    ///
    /// # Errors
    /// As for [`Client::call`], or the range breaks the rules for clients.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, ClientError> {
        let fault = self.habits().data_fault;
        let (from, end) = self.widened(offset, length as u64)?;
        let mut bytes = Vec::new();
        let pieces = pieces(from, end, self.piece(end - from));
        if self.habits().pipelines {
            let calls = pieces.map(|(at, piece)| self.reading(at, piece)).collect();
            for part in self.at_once(calls).await {
                bytes.extend(part?);
            }
        } else {
            for (at, piece) in pieces {
                let part = self.call(self.reading(at, piece)).await?;
                if bytes.is_empty() {
                    bytes = part;
                } else {
                    bytes.extend_from_slice(&part);
                }
            }
        }
        bytes.drain(..((offset - from) as usize).min(bytes.len()));
        bytes.truncate(length);
        match fault {
            Some(DataFault::ReadsShifted) if !bytes.is_empty() => bytes.rotate_left(1),
            Some(DataFault::ReadsLess) => bytes.truncate(length / 2),
            _ => {}
        }
        Ok(bytes)
    }

    /// Sends several requests, then waits for the answers, in the order of the requests.
    async fn at_once(&self, calls: Vec<Call>) -> Vec<Result<Vec<u8>, ClientError>> {
        let mut all: Vec<_> = calls.iter().map(|_| Ok(Vec::new())).collect();
        let mut running = JoinSet::new();
        for (index, call) in calls.into_iter().enumerate() {
            let client = self.clone();
            running.spawn(async move { (index, client.call(call).await) });
        }
        while let Some(done) = running.join_next().await {
            if let Ok((index, answer)) = done {
                all[index] = answer;
            }
        }
        all
    }

    fn reading(&self, at: u64, piece: u64) -> Call {
        let flags = self.details().flags;
        let whole = self.habits().sets_flags
            && self.is_structured()
            && piece <= WHOLE
            && flags.has(TransmissionFlags::SEND_DF);
        let df = if whole { CommandFlags::DF } else { CommandFlags::EMPTY };
        Call::new(Command::READ, at, piece).with_flags(df)
    }

    /// FUA, where it is to be set on what writes.
    fn fua(&self) -> CommandFlags {
        let offered = self.details().flags.has(TransmissionFlags::SEND_FUA);
        let sets = self.habits().sets_flags && offered;
        if sets { CommandFlags::FUA } else { CommandFlags::EMPTY }
    }

    /// How long the pieces of an operation of this length are, in bytes.
    fn piece(&self, length: u64) -> u64 {
        let unit = u64::from(self.sizes().minimum()).max(PORTABLE);
        let piece = match self.habits().pipelines {
            true => (length / 4).next_multiple_of(unit).max(unit),
            false => u64::MAX,
        };
        piece.min(self.maximum())
    }

    /// `NBD_CMD_WRITE`, in as many requests as the maximum payload demands.
    ///
    /// # Errors
    /// As for [`Client::call`], or the range breaks the rules for clients.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        self.minds_read_only()?;
        let garbled;
        let (offset, data) = match self.habits().data_fault {
            Some(DataFault::WritesNothing) => return Ok(()),
            Some(DataFault::WritesElsewhere) => {
                (offset.saturating_add(512).min(self.size() - data.len() as u64), data)
            }
            Some(DataFault::WritesHalf) => (offset, &data[..data.len() / 2]),
            Some(DataFault::WritesGarbled) => {
                garbled = data.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
                (offset, &garbled[..])
            }
            _ => (offset, data),
        };
        let (from, end) = self.widened(offset, data.len() as u64)?;
        let whole;
        let data = if end - from == data.len() as u64 {
            data
        } else {
            // What is around it is written back as it was.
            let mut around = self.read(from, (end - from) as usize).await?;
            let start = (offset - from) as usize;
            around[start..start + data.len()].copy_from_slice(data);
            whole = around;
            &whole
        };
        let calls = pieces(from, end, self.piece(end - from)).map(|(at, piece)| {
            let start = (at - from) as usize;
            let part = data[start..start + piece as usize].to_vec();
            Call::write(at, part).with_flags(self.fua())
        });
        if self.habits().pipelines {
            self.at_once(calls.collect()).await.into_iter().try_for_each(|done| done.map(drop))
        } else {
            for call in calls {
                self.call(call).await?;
            }
            Ok(())
        }
    }

    /// `NBD_CMD_FLUSH`.
    ///
    /// # Errors
    /// As for [`Client::call`], or it is not offered.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.needs(TransmissionFlags::SEND_FLUSH, "NBD_CMD_FLUSH")?;
        if self.habits().data_fault == Some(DataFault::FlushesNot) {
            return Ok(());
        }
        self.call(Call::new(Command::FLUSH, 0, 0)).await.map(drop)
    }

    /// `NBD_CMD_TRIM`.
    ///
    /// # Errors
    /// As for [`Client::call`], or it is not offered.
    pub async fn trim(&self, offset: u64, length: u64) -> Result<(), ClientError> {
        self.minds_read_only()?;
        self.needs(TransmissionFlags::SEND_TRIM, "NBD_CMD_TRIM")?;
        let largest = self.largest_effect();
        self.without_payload(Command::TRIM, CommandFlags::EMPTY, offset, length, largest).await
    }

    /// `NBD_CMD_WRITE_ZEROES`; with `no_hole` the range stays allocated. As a release of qemu it
    /// writes zeroes where the command is not to be had.
    ///
    /// # Errors
    /// As for [`Client::call`], or it is not offered.
    pub async fn zero(&self, offset: u64, length: u64, no_hole: bool) -> Result<(), ClientError> {
        self.minds_read_only()?;
        let offered = self.needs(TransmissionFlags::SEND_WRITE_ZEROES, "NBD_CMD_WRITE_ZEROES");
        let habits = self.habits();
        if habits.data_fault == Some(DataFault::ZeroesNot) {
            return Ok(());
        }
        if !habits.writes_zeroes || (habits.write_zeroes && offered.is_ok()) {
            offered?;
            let longest = if self.is_extended() { u64::MAX } else { habits.largest_zeroes };
            let largest = self.longest().min(longest);
            return self.zeroes(offset, length, no_hole, largest).await;
        }
        let end = offset.saturating_add(length);
        for (at, piece) in pieces(offset, end, self.maximum()) {
            self.write(at, &vec![0; piece as usize]).await?;
        }
        Ok(())
    }

    /// `NBD_CMD_WRITE_ZEROES` with FAST_ZERO: only if it is faster than writing.
    ///
    /// # Errors
    /// As for [`Client::call`], or it is not offered; `NBD_ENOTSUP` where it would be slow.
    pub async fn zero_fast(&self, offset: u64, length: u64) -> Result<(), ClientError> {
        const FAST: CommandFlags = CommandFlags::FAST_ZERO;
        self.minds_read_only()?;
        self.needs(TransmissionFlags::SEND_WRITE_ZEROES, "NBD_CMD_WRITE_ZEROES")?;
        self.needs(TransmissionFlags::SEND_FAST_ZERO, "FAST_ZERO")?;
        let largest = self.largest_effect();
        self.without_payload(Command::WRITE_ZEROES, FAST, offset, length, largest).await
    }

    async fn zeroes(
        &self,
        offset: u64,
        length: u64,
        no_hole: bool,
        largest: u64,
    ) -> Result<(), ClientError> {
        let no_hole = no_hole || self.habits().sets_flags;
        let flags = if no_hole { CommandFlags::NO_HOLE } else { CommandFlags::EMPTY } | self.fua();
        self.without_payload(Command::WRITE_ZEROES, flags, offset, length, largest).await
    }

    async fn without_payload(
        &self,
        command: Command,
        flags: CommandFlags,
        offset: u64,
        length: u64,
        largest: u64,
    ) -> Result<(), ClientError> {
        let end = self.check_range(offset, length)?;
        for (at, piece) in pieces(offset, end, largest) {
            self.call(Call::new(command, at, piece).with_flags(flags)).await?;
        }
        Ok(())
    }

    /// Some releases look at the flag before they write; what binds all clients is that they are
    /// prepared for the error.
    fn minds_read_only(&self) -> Result<(), ClientError> {
        let minds = self.habits().minds_read_only;
        if minds && self.details().flags.has(TransmissionFlags::READ_ONLY) {
            return Err(ClientError::NotOffered("writing: the export is read-only"));
        }
        Ok(())
    }

    fn needs(&self, flag: TransmissionFlags, what: &'static str) -> Result<(), ClientError> {
        let there = self.details().flags.has(flag);
        if there { Ok(()) } else { Err(ClientError::NotOffered(what)) }
    }

    fn sizes(&self) -> BlockSizes {
        self.details().block_sizes.unwrap_or_default()
    }

    /// The largest payload of a request, in bytes.
    fn maximum(&self) -> u64 {
        if self.habits().request_fault == Some(RequestFault::Unlimited) {
            return u64::MAX;
        }
        // A server's limit may be none at all.
        u64::from(self.sizes().maximum().min(self.habits().largest))
    }

    /// The largest effect of a request without payload, in bytes.
    pub(crate) fn largest_effect(&self) -> u64 {
        self.longest().min(self.habits().largest_effect)
    }

    /// Up to where a range goes that this client may ask for.
    pub(crate) fn check_range(&self, offset: u64, length: u64) -> Result<u64, ClientError> {
        let (from, end) = self.widened(offset, length)?;
        if (from, end) != (offset, offset + length) {
            return Err(ClientError::Misuse("the range is not aligned to the minimum block size"));
        }
        Ok(end)
    }

    /// A range, as a release of qemu that keeps to the minimum block size widens it, and others
    /// don't.
    fn widened(&self, offset: u64, length: u64) -> Result<(u64, u64), ClientError> {
        let end = match offset.checked_add(length) {
            Some(end) if end <= self.size() => end,
            _ => return Err(ClientError::Misuse("the range ends beyond the export")),
        };
        let minimum = u64::from(self.sizes().minimum());
        if offset.is_multiple_of(minimum) && length.is_multiple_of(minimum) {
            return Ok((offset, end));
        }
        match self.habits().alignment {
            Alignment::Ignore => Ok((offset, end)),
            Alignment::Widen => {
                let whole = end.next_multiple_of(minimum).min(self.size());
                Ok((offset - offset % minimum, whole))
            }
            Alignment::Refuse => {
                Err(ClientError::Misuse("the range is not aligned to the minimum block size"))
            }
        }
    }
}

/// Cuts a range into requests; an empty one into none.
fn pieces(from: u64, end: u64, maximum: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let piece = maximum.min(end.saturating_sub(at));
        let start = at;
        at += piece;
        (piece > 0).then_some((start, piece))
    })
}
