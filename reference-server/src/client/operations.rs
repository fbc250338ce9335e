//! What a client can ask for, in as many requests as it takes.

use protocol::values::{Command, CommandFlags, DEFAULT_MAXIMUM_PAYLOAD, TransmissionFlags};

use super::error::ClientError;
use super::request::Call;
use super::transmission::Client;
use crate::export::BlockSizes;

impl Client {
    /// `NBD_CMD_READ`, in as many requests as the maximum payload demands.
    ///
    /// # Errors
    /// As for [`Client::call`], or the range breaks the rules for clients.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, ClientError> {
        let (from, end) = self.widened(offset, length as u64)?;
        let mut bytes = Vec::new();
        for (at, piece) in pieces(from, end, self.maximum()) {
            let part = self.call(Call::new(Command::READ, at, piece)).await?;
            if bytes.is_empty() {
                bytes = part;
            } else {
                bytes.extend_from_slice(&part);
            }
        }
        bytes.drain(..(offset - from) as usize);
        bytes.truncate(length);
        Ok(bytes)
    }

    /// `NBD_CMD_WRITE`, in as many requests as the maximum payload demands.
    ///
    /// # Errors
    /// As for [`Client::call`], or the range breaks the rules for clients.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        self.minds_read_only()?;
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
        for (at, piece) in pieces(from, end, self.maximum()) {
            let start = (at - from) as usize;
            let part = data[start..start + piece as usize].to_vec();
            self.call(Call::write(at, part)).await?;
        }
        Ok(())
    }

    /// `NBD_CMD_FLUSH`.
    ///
    /// # Errors
    /// As for [`Client::call`], or it is not offered.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.needs(TransmissionFlags::SEND_FLUSH, "NBD_CMD_FLUSH")?;
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
        let Some(habits) = self.habits() else {
            offered?;
            return self.zeroes(offset, length, no_hole, self.largest_effect()).await;
        };
        if habits.write_zeroes && offered.is_ok() {
            // Cut like a payload where lengths have 32 bits.
            let extended = self.is_extended();
            let largest = if extended { u64::MAX } else { u64::from(DEFAULT_MAXIMUM_PAYLOAD) };
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
        let flags = if no_hole { CommandFlags::NO_HOLE } else { CommandFlags::EMPTY };
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
        let minds = self.habits().is_some_and(|habits| habits.minds_read_only);
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
        let habit = self.habits().map_or(DEFAULT_MAXIMUM_PAYLOAD, |habits| habits.largest);
        // A server's limit may be none at all.
        u64::from(self.sizes().maximum().min(habit))
    }

    /// The largest effect of a request without payload, in bytes.
    pub(crate) fn largest_effect(&self) -> u64 {
        let habit = self.habits().map_or(u64::MAX, |habits| habits.largest_effect);
        self.longest().min(habit)
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
        match self.habits() {
            Some(habits) if !habits.aligns => Ok((offset, end)),
            Some(_) => {
                let whole = end.next_multiple_of(minimum).min(self.size());
                Ok((offset - offset % minimum, whole))
            }
            None => Err(ClientError::Misuse("the range is not aligned to the minimum block size")),
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
