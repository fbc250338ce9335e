//! Gives an external target the content that scenarios know: data where they expect data, holes
//! where they expect holes. What is there already is not written again.

use std::ops::Range;
use std::time::Duration;

use protocol::payload::{self, place};
use protocol::uri::Uri;
use protocol::values::{OptionType, TransmissionFlags};
use reference_server::ClientQuirk;
use reference_server::client::{Client, ClientError, Options};

use crate::peer::{Address, KNOWN};
use crate::run::survey::Capabilities;
use crate::tls::Security;

/// How far the content goes, in bytes; beyond it only the scenarios about large exports know
/// something, see [`FAR`].
const NEAR: u64 = 16 << 20;
/// What else is zero for scenarios about large exports.
const FAR: [Range<u64>; 3] =
    [NEAR..100 << 20, 4 << 30..(4 << 30) + (1 << 20), 8 << 30..(8 << 30) + (9 << 20)];
/// How much is looked at in one go, in bytes.
const PIECE: u64 = 1 << 20;
/// What differs is written in units of this many bytes: no minimum block size is larger.
const UNIT: u64 = 64 << 10;
/// How many waits all of it may take.
const WAITS: u32 = 24;
/// The context that tells holes and zeroes, and its flags.
const ALLOCATION: &str = "base:allocation";
const HOLE: u64 = 1;
const ZERO: u64 = 2;

/// The content that an export is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Zeroes everywhere, instead of what scenarios with `needs: content` know.
    pub blank: bool,
    /// Also what scenarios about large exports look at, above 16 MiB.
    pub far: bool,
}

impl Wanted {
    /// Where an export may differ from this that held `self` before `changed` was changed, and
    /// whether it goes on being known as far as [`FAR`].
    #[must_use]
    pub fn differing(self, wanted: Self, changed: Vec<Range<u64>>) -> (bool, Vec<Range<u64>>) {
        let mut all = changed;
        if self.blank != wanted.blank {
            all.extend(KNOWN.map(|(_, offset, length)| offset..offset + length));
        }
        if wanted.far && !self.far {
            all.extend(FAR);
        }
        (self.far, all)
    }

    /// The areas that count, those within `within` if there is such a thing, in whole units.
    fn within(self, end: u64, within: Option<&[Range<u64>]>) -> Vec<Range<u64>> {
        let areas = self.areas(end);
        let Some(within) = within else { return areas };
        let mut all = Vec::new();
        for stretch in within {
            let start = stretch.start - stretch.start % UNIT;
            let stop = stretch.end.checked_next_multiple_of(UNIT).unwrap_or(u64::MAX);
            for area in &areas {
                let cut = start.max(area.start)..stop.min(area.end);
                if !cut.is_empty() {
                    all.push(cut);
                }
            }
        }
        united(all)
    }

    fn areas(self, end: u64) -> Vec<Range<u64>> {
        let far = if self.far { &FAR[..] } else { &[] };
        let all = std::iter::once(0..NEAR).chain(far.iter().cloned());
        let cut = all.map(|area| area.start.min(end)..area.end.min(end));
        cut.filter(|area| !area.is_empty()).collect()
    }

    /// What belongs at `at`.
    fn piece(self, at: u64, length: u64) -> Vec<u8> {
        let mut piece = vec![0; length as usize];
        if !self.blank {
            known(at, &mut piece);
        }
        piece
    }
}

/// The same stretches in order, those that touch as one.
fn united(mut stretches: Vec<Range<u64>>) -> Vec<Range<u64>> {
    stretches.sort_by_key(|stretch| stretch.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for stretch in stretches {
        match all.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
            _ => all.push(stretch),
        }
    }
    all
}

/// An export of a server that somebody else runs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// Where the server listens.
    pub address: &'p Address,
    /// What is needed for TLS, where it takes TLS.
    pub tls: Option<&'p Security>,
    /// The name of the export.
    pub export: &'p str,
    /// How long one wait may take.
    pub limit: Duration,
    /// The largest payload of a request, in bytes.
    pub most: u64,
    /// What may be asked of it.
    pub answered: Answered,
    /// It does not close at `NBD_CMD_DISC`, but when the client does.
    pub stays_open: bool,
}

/// Options that a server answers, be it by a refusal. To ask others would cost a wait each time.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    structured_reply: bool,
    extended_headers: bool,
    contexts: bool,
    go: bool,
}

impl Answered {
    /// All of them.
    pub const ALL: Self =
        Self { structured_reply: true, extended_headers: true, contexts: true, go: true };

    /// Those that the survey does not know to be without an answer.
    #[must_use]
    pub fn by(found: &Capabilities) -> Self {
        let answers = |option| found.why_unknown(option).is_none();
        Self {
            structured_reply: answers(OptionType::STRUCTURED_REPLY),
            extended_headers: answers(OptionType::EXTENDED_HEADERS),
            contexts: answers(OptionType::SET_META_CONTEXT),
            go: answers(OptionType::GO),
        }
    }
}

/// How long a server may take to hang up. Whether it does is for scenarios to tell.
const FAREWELL: Duration = Duration::from_millis(300);

/// In which form content is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The richest that the server and the client can agree on.
    Richest,
    /// Simple replies.
    Plain,
}

/// By which commands zeroes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeroing {
    /// Those that make holes, where they are offered.
    AsOffered,
    /// WRITE alone.
    Writing,
}

/// Why content can't be had.
struct Refusal {
    why: String,
    /// The server broke the protocol.
    misbehaved: bool,
    /// The server hung up or stayed silent.
    gone: bool,
}

impl Refusal {
    fn new(why: String) -> Self {
        Self { why, misbehaved: false, gone: false }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let gone = matches!(
            error,
            ClientError::Closed(_) | ClientError::Lost { .. } | ClientError::TimedOut(_)
        );
        Self {
            misbehaved: matches!(error, ClientError::Misbehaved(_)),
            gone,
            why: error.to_string(),
        }
    }
}

/// The same in either form: in simple replies only where the server breaks the protocol in the
/// richest. What is wrong is for scenarios to name, and they need content all the more.
async fn in_either_form<T>(
    richest: impl Future<Output = Result<T, Refusal>>,
    plain: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    match richest.await {
        Err(refusal) if refusal.misbehaved => plain.await,
        done => done,
    }
}

impl Place<'_> {
    /// A session.
    async fn enter(self, form: Form) -> Result<Client, ClientError> {
        let uri = match self.address {
            Address::Tcp { host, port } => Uri::tcp(host.clone(), *port),
            Address::Unix(path) => Uri::unix(path),
        };
        let uri = uri.with_export(self.export);
        let answered = self.answered;
        let mut options = Options {
            timeout: self.limit,
            farewell: self.limit.min(FAREWELL),
            tls: self.tls.map(Security::of_client),
            // That is for scenarios to name.
            any_option: true,
            ..Options::default()
        };
        if self.stays_open {
            options.habits = ClientQuirk::habits([ClientQuirk::DiscImpatient]);
        }
        if answered.contexts {
            options.contexts.push(ALLOCATION.to_owned());
        }
        let structured = options.clone().with(|habits| habits.extended_headers = false);
        let plain = structured.clone().with(|habits| habits.structured_reply = false);
        let plain = Options { contexts: Vec::new(), ..plain };
        let by_name = plain.clone().with(|habits| habits.go = false);
        let richest = form == Form::Richest && answered.go && answered.structured_reply;
        let mut forms = Vec::new();
        if richest && answered.extended_headers {
            forms.push(options);
        }
        if richest {
            forms.push(structured);
        }
        if answered.go {
            forms.push(plain);
        }
        forms.push(by_name);
        let mut error = None;
        for options in forms {
            match Client::connect(&uri, &options).await {
                Ok(client) => return Ok(client),
                Err(ClientError::Misbehaved(wrong)) => error = Some(wrong.into()),
                // It may hang up at options that it does not know.
                Err(
                    other @ (ClientError::NotOffered(_)
                    | ClientError::Closed(_)
                    | ClientError::Lost { .. }),
                ) => error = Some(other),
                Err(other) => return Err(other),
            }
        }
        Err(error.unwrap_or(ClientError::Closed("an export")))
    }

    /// Whether the export holds this content already. Nothing is written.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn holds(self, wanted: Wanted) -> Result<bool, String> {
        let looking = async |form| {
            let client = self.enter(form).await?;
            let mut same = true;
            'all: for area in wanted.areas(end(&client)) {
                for (at, length) in pieces(area, self.most) {
                    if client.read(at, length as usize).await? != wanted.piece(at, length) {
                        same = false;
                        break 'all;
                    }
                }
            }
            // That it does not hang up is for scenarios to tell.
            let _ = client.disconnect().await;
            Ok(same)
        };
        let [richest, plain] = [Form::Richest, Form::Plain].map(|form| self.in_time(looking(form)));
        in_either_form(richest, plain).await.map_err(unreadable)
    }

    /// What the export holds, as far as scenarios with `needs: content` look.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn read(self) -> Result<Vec<u8>, String> {
        let reading = async |form| {
            let client = self.enter(form).await?;
            let end = end(&client).min(NEAR);
            let mut there = Vec::with_capacity(end as usize);
            for (at, length) in pieces(0..end, self.most) {
                there.extend_from_slice(&client.read(at, length as usize).await?);
            }
            let _ = client.disconnect().await;
            Ok(there)
        };
        let [richest, plain] = [Form::Richest, Form::Plain].map(|form| self.in_time(reading(form)));
        in_either_form(richest, plain).await.map_err(unreadable)
    }

    /// A little of what the export holds where scenarios know data: offset, what belongs there, what is
    /// there.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn samples(self, wanted: Wanted) -> Result<Vec<(u64, Vec<u8>, Vec<u8>)>, String> {
        let reading = async |form| {
            let client = self.enter(form).await?;
            let mut all = Vec::new();
            for (_, at, length) in KNOWN {
                let area = at..end(&client).min(at + length.min(UNIT)).max(at);
                for (at, length) in pieces(area, self.most).take(1) {
                    let there = client.read(at, length as usize).await?;
                    all.push((at, wanted.piece(at, length), there.to_vec()));
                }
            }
            let _ = client.disconnect().await;
            Ok(all)
        };
        let [richest, plain] = [Form::Richest, Form::Plain].map(|form| self.in_time(reading(form)));
        in_either_form(richest, plain).await.map_err(unreadable)
    }

    /// Gives the export this content. With `fresh`, nothing is known of it: then what reads as
    /// zeroes is made a hole too where nothing tells whether it is one. With `within`, all else is known
    /// to be right.
    ///
    /// # Errors
    /// Why it can't be had: the device is full, does not keep what it is given, shows each
    /// connection something else...
    pub async fn lay(
        self,
        wanted: Wanted,
        fresh: bool,
        within: Option<&[Range<u64>]>,
    ) -> Result<(), String> {
        if within.is_some_and(<[_]>::is_empty) {
            return Ok(());
        }
        let forms = [Form::Richest, Form::Plain];
        let by = |zeroing| {
            let [richest, plain] =
                forms.map(|form| self.lay_in(form, zeroing, wanted, fresh, within));
            in_either_form(richest, plain)
        };
        let laid = match by(Zeroing::AsOffered).await {
            // At a command that it offers, perhaps.
            Err(refusal) if refusal.gone => by(Zeroing::Writing).await,
            laid => laid,
        };
        laid.map_err(|refusal| refusal.why)
    }

    async fn lay_in(
        self,
        form: Form,
        zeroing: Zeroing,
        wanted: Wanted,
        fresh: bool,
        within: Option<&[Range<u64>]>,
    ) -> Result<(), Refusal> {
        let laying = async {
            let client = self.enter(form).await?;
            let punches = zeroing == Zeroing::AsOffered;
            let mut layer = Layer { client, zeroing, wanted, fresh, punches, written: Vec::new() };
            for area in wanted.within(end(&layer.client), within) {
                for (at, length) in pieces(area, self.most) {
                    layer.piece(at, length).await?;
                }
            }
            let Layer { client, written, .. } = layer;
            if !written.is_empty() && client.details().flags.has(TransmissionFlags::SEND_FLUSH) {
                match client.flush().await {
                    // That is for scenarios to name. Whether what was written is there is looked at below.
                    Ok(()) | Err(ClientError::Failed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let _ = client.disconnect().await;
            Ok(written)
        };
        let failed = |refusal: Refusal| {
            let why = format!("the export can't be given known content: {}", refusal.why);
            Refusal { why, ..refusal }
        };
        let written = self.in_time(laying).await.map_err(failed)?;
        if written.is_empty() {
            return Ok(());
        }
        // Scenarios have connections of their own: what counts is what those see.
        let looking = async {
            let client = self.enter(form).await?;
            for range in written {
                for (at, length) in pieces(range, self.most) {
                    if client.read(at, length as usize).await? != wanted.piece(at, length) {
                        return Ok(Some((at, length)));
                    }
                }
            }
            let _ = client.disconnect().await;
            Ok(None)
        };
        match self.in_time(looking).await.map_err(failed)? {
            None => Ok(()),
            Some((at, length)) => Err(Refusal::new(format!(
                "the export does not keep known content: of {length} bytes that were written at {at}, another connection reads others"
            ))),
        }
    }

    async fn in_time<T>(
        self,
        doing: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Refusal> {
        let all = self.limit.saturating_mul(WAITS);
        match tokio::time::timeout(all, doing).await {
            Ok(done) => done.map_err(Refusal::from),
            Err(_) => Err(Refusal::new(format!("it takes more than {all:?}"))),
        }
    }
}

/// Whether this, read from the start of an export, is what scenarios know.
#[must_use]
pub fn is_known(there: &[u8]) -> bool {
    let wanted = Wanted { blank: false, far: false };
    pieces(0..there.len() as u64, PIECE)
        .all(|(at, length)| there[at as usize..(at + length) as usize] == wanted.piece(at, length))
}

fn unreadable(refusal: Refusal) -> String {
    format!("the export can't be read: {}", refusal.why)
}

/// The end of what can be asked for, in whole blocks.
fn end(client: &Client) -> u64 {
    let minimum = client.details().block_sizes.map_or(1, |sizes| u64::from(sizes.minimum()));
    client.size() - client.size() % minimum
}

/// A stretch in pieces that requests may be as long as; `most` is the largest payload.
fn pieces(area: Range<u64>, most: u64) -> impl Iterator<Item = (u64, u64)> {
    let piece = most.checked_ilog2().map_or(1, |bits| 1 << bits).min(PIECE);
    area.clone().step_by(piece as usize).map(move |at| (at, piece.min(area.end - at)))
}

/// What gives an export its content.
struct Layer {
    client: Client,
    zeroing: Zeroing,
    wanted: Wanted,
    fresh: bool,
    /// Zeroing has made holes so far, as far as that shows.
    punches: bool,
    /// What was written, in order.
    written: Vec<Range<u64>>,
}

/// What part of an export lacks of the content that it is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Nothing,
    Data,
    Zeroes,
    /// It is zero, and should take up no space.
    Hole,
}

/// What is at `at` lacks, in stretches of whole units.
fn lacks(at: u64, there: &[u8], wanted: &[u8]) -> Vec<(Lack, Range<u64>)> {
    let mut all: Vec<(Lack, Range<u64>)> = Vec::new();
    let mut from = at;
    for (has, wants) in there.chunks(UNIT as usize).zip(wanted.chunks(UNIT as usize)) {
        let to = from + wants.len() as u64;
        let lack = match (has == wants, payload::is_zero(wants)) {
            (true, false) => Lack::Nothing,
            (true, true) => Lack::Hole,
            (false, true) => Lack::Zeroes,
            (false, false) => Lack::Data,
        };
        match all.last_mut() {
            Some((last, range)) if *last == lack => range.end = to,
            _ => all.push((lack, from..to)),
        }
        from = to;
    }
    all
}

impl Layer {
    async fn piece(&mut self, at: u64, length: u64) -> Result<(), ClientError> {
        let wanted = self.wanted.piece(at, length);
        let is_zero = payload::is_zero(&wanted);
        // What lies far may be large, and is zero as long as nobody writes there; near the start a server
        // that tells of zeroes where none are would spoil what scenarios count on.
        if is_zero && at >= NEAR && self.status(at, length).await == Some(HOLE | ZERO) {
            return Ok(());
        }
        let there = self.client.read(at, length as usize).await?;
        // What is next to each other and lacks the same is one request: a slow disk counts them.
        for (lack, range) in lacks(at, &there, &wanted) {
            let unit = (range.start - at) as usize..(range.end - at) as usize;
            match lack {
                Lack::Nothing => continue,
                Lack::Data => self.client.write(range.start, &wanted[unit]).await?,
                Lack::Zeroes => self.zero(range.clone()).await?,
                Lack::Hole if self.punches && self.may_be_data(range.clone()).await => {
                    self.punch(range.clone()).await;
                }
                Lack::Hole => continue,
            }
            self.note(range);
        }
        Ok(())
    }

    fn note(&mut self, range: Range<u64>) {
        match self.written.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.written.push(range),
        }
    }

    /// The one status of a range; `None` if it has several, or nothing tells.
    async fn status(&self, at: u64, length: u64) -> Option<u64> {
        if self.client.contexts().is_empty() {
            return None;
        }
        match self.client.map(ALLOCATION, at, length).await.ok()?.as_slice() {
            [one] => Some(one.status & (HOLE | ZERO)),
            _ => None,
        }
    }

    /// Whether zeroes may take up space.
    async fn may_be_data(&self, range: Range<u64>) -> bool {
        if self.client.contexts().is_empty() {
            return self.fresh;
        }
        let status = self.status(range.start, range.end - range.start).await;
        status.is_none_or(|status| status & HOLE == 0)
    }

    /// Makes a hole of zeroes, if that can be done.
    async fn punch(&mut self, range: Range<u64>) {
        let length = range.end - range.start;
        let flags = self.client.details().flags;
        let done = if flags.has(TransmissionFlags::SEND_WRITE_ZEROES) {
            self.client.zero(range.start, length, false).await.is_ok()
        } else if flags.has(TransmissionFlags::SEND_TRIM) {
            self.client.trim(range.start, length).await.is_ok()
        } else {
            false
        };
        // Nobody has to make holes.
        if !done || (!self.client.contexts().is_empty() && self.may_be_data(range).await) {
            self.punches = false;
        }
    }

    /// Zeroes, as a hole if that can be had.
    async fn zero(&mut self, range: Range<u64>) -> Result<(), ClientError> {
        let length = range.end - range.start;
        let flags = match self.zeroing {
            Zeroing::AsOffered => self.client.details().flags,
            Zeroing::Writing => TransmissionFlags::EMPTY,
        };
        if flags.has(TransmissionFlags::SEND_WRITE_ZEROES)
            && self.client.zero(range.start, length, false).await.is_ok()
            && self.is_zero(range.clone()).await?
        {
            return Ok(());
        }
        if flags.has(TransmissionFlags::SEND_TRIM)
            && self.client.trim(range.start, length).await.is_ok()
            && self.is_zero(range.clone()).await?
        {
            return Ok(());
        }
        self.client.write(range.start, &vec![0; length as usize]).await
    }

    async fn is_zero(&self, range: Range<u64>) -> Result<bool, ClientError> {
        let bytes = self.client.read(range.start, (range.end - range.start) as usize).await?;
        Ok(payload::is_zero(&bytes))
    }
}

/// The known content that belongs to `at` and after.
fn known(at: u64, piece: &mut [u8]) {
    let end = at + piece.len() as u64;
    for (seed, offset, length) in KNOWN {
        let (from, to) = (at.max(offset), end.min(offset + length));
        if from < to {
            place(seed, from, &mut piece[(from - at) as usize..(to - at) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use reference_server::store::{MemoryStore, Store};
    use reference_server::{BlockSizes, Export, Features, Server, ServerHandle};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const KNOWN_CONTENT: Wanted = Wanted { blank: false, far: false };
    const BLANK: Wanted = Wanted { blank: true, far: false };

    #[test]
    fn pieces_hold_the_part_of_the_content_that_is_theirs() {
        let piece = KNOWN_CONTENT.piece(8 << 20, PIECE);
        let mut wanted = vec![0; 64 << 10];
        place(2, 8 << 20, &mut wanted);
        assert!(piece[..64 << 10] == wanted && piece[64 << 10..].iter().all(|b| *b == 0));
    }

    #[test]
    fn what_was_changed_twice_is_looked_at_once() {
        let changed = [5 * UNIT..5 * UNIT + 1, 0..1, UNIT..2 * UNIT + 5, 1..2, 0..UNIT];
        let within = KNOWN_CONTENT.within(16 << 20, Some(&changed));
        assert_eq!(within, [0..3 * UNIT, 5 * UNIT..6 * UNIT]);
    }

    #[test]
    fn neighbours_that_lack_the_same_are_one_stretch() {
        let unit = UNIT as usize;
        let mut wanted = vec![0; 6 * unit];
        wanted[..3 * unit].fill(7);
        let mut there = wanted.clone();
        there[..2 * unit].fill(1);
        there[4 * unit] = 1;
        assert_eq!(
            lacks(UNIT, &there, &wanted),
            [
                (Lack::Data, UNIT..3 * UNIT),
                (Lack::Nothing, 3 * UNIT..4 * UNIT),
                (Lack::Hole, 4 * UNIT..5 * UNIT),
                (Lack::Zeroes, 5 * UNIT..6 * UNIT),
                (Lack::Hole, 6 * UNIT..7 * UNIT),
            ]
        );
        assert_eq!(lacks(0, &[1; 700], &[2; 700]), [(Lack::Data, 0..700)]);
    }

    async fn serve(export: Export, features: Features) -> (ServerHandle, Address) {
        let server = Server::builder().features(features).export(export).default_export("disk");
        let handle = server.tcp(([127, 0, 0, 1], 0).into()).start().await.unwrap();
        let address = handle.tcp_address().unwrap().into();
        (handle, address)
    }

    fn place_at(address: &Address) -> Place<'_> {
        let answered = Answered::ALL;
        let (export, stays_open) = ("disk", false);
        Place { address, tls: None, export, limit: LIMIT, most: PIECE, answered, stays_open }
    }

    /// A store that is full of data.
    fn full(size: u64) -> MemoryStore {
        let store = MemoryStore::new(size);
        store.write(0, &vec![0xa5; size as usize]).unwrap();
        store
    }

    #[tokio::test]
    async fn whatever_limits_a_server_tells_are_kept() {
        let sizes = |minimum, preferred, maximum| {
            Some(BlockSizes::new(minimum, preferred, maximum).unwrap())
        };
        for (size, sizes) in [
            (511, None),
            (1_000_001, None),
            (17 << 20, sizes(512, 4096, 64 << 10)),
            (1 << 20, sizes(1 << 16, 1 << 16, 1 << 20)),
            (9 << 20, sizes(4096, 4096, 4096)),
        ] {
            let export = Export::new("disk", full(size));
            let export = match sizes {
                Some(sizes) => export.with_block_sizes(sizes).with_block_size_required(true),
                None => export,
            };
            let (_handle, address) = serve(export, Features::default()).await;
            let place = place_at(&address);
            assert_eq!(place.holds(KNOWN_CONTENT).await, Ok(false), "{size}");
            assert_eq!(place.lay(KNOWN_CONTENT, true, None).await, Ok(()), "{size}");
            assert_eq!(place.holds(KNOWN_CONTENT).await, Ok(true), "{size}");
            assert_eq!(place.lay(BLANK, false, None).await, Ok(()), "{size}");
            assert_eq!(place.holds(BLANK).await, Ok(true), "{size}");
        }
    }

    #[tokio::test]
    async fn zeroes_are_holes_where_the_server_makes_them() {
        for (write_zeroes, trim) in [(true, true), (false, true), (true, false)] {
            let features = Features { write_zeroes, trim, ..Features::default() };
            let (_handle, address) = serve(Export::new("disk", full(NEAR)), features).await;
            let place = place_at(&address);
            assert_eq!(place.lay(KNOWN_CONTENT, true, None).await, Ok(()));
            let client = place.enter(Form::Richest).await.unwrap();
            let map = client.map(ALLOCATION, 0, NEAR).await.unwrap();
            let map: Vec<(u64, u64)> = map.iter().map(|one| (one.length, one.status)).collect();
            let (data, hole) = (0, HOLE | ZERO);
            let rest = NEAR - (8 << 20) - (64 << 10);
            assert_eq!(map, [(1 << 20, data), (7 << 20, hole), (64 << 10, data), (rest, hole)]);
        }
    }

    #[tokio::test]
    async fn a_server_without_any_command_to_zero_is_written_to() {
        let features = Features {
            write_zeroes: false,
            trim: false,
            structured_reply: false,
            extended_headers: false,
            ..Features::default()
        };
        let (_handle, address) = serve(Export::new("disk", full(2 << 20)), features).await;
        let place = place_at(&address);
        assert_eq!(place.lay(KNOWN_CONTENT, true, None).await, Ok(()));
        assert_eq!(place.holds(KNOWN_CONTENT).await, Ok(true));
    }

    #[tokio::test]
    async fn only_what_may_have_changed_is_laid_again() {
        let export = Export::new("disk", full(NEAR));
        let (_handle, address) = serve(export, Features::default()).await;
        let place = place_at(&address);
        assert_eq!(place.lay(KNOWN_CONTENT, true, None).await, Ok(()));
        let client = place.enter(Form::Richest).await.unwrap();
        for offset in [70_000, 9 << 20] {
            client.write(offset, &[0xee; 512]).await.unwrap();
        }
        let changed = std::iter::once(70_000..70_512).collect();
        let (_, within) = KNOWN_CONTENT.differing(KNOWN_CONTENT, changed);
        assert_eq!(place.lay(KNOWN_CONTENT, false, Some(&within)).await, Ok(()));
        assert_eq!(place.holds(KNOWN_CONTENT).await, Ok(false), "what was not named is as it was");
        client.write(9 << 20, &[0; 512]).await.unwrap();
        assert_eq!(place.holds(KNOWN_CONTENT).await, Ok(true));
        let (_, within) = KNOWN_CONTENT.differing(BLANK, Vec::new());
        assert_eq!(place.lay(BLANK, false, Some(&within)).await, Ok(()));
        assert_eq!(place.holds(BLANK).await, Ok(true));
    }

    #[tokio::test]
    async fn a_read_only_export_is_a_reason_and_stays_as_it_is() {
        let export = Export::new("disk", full(1 << 20)).with_read_only(true);
        let (_handle, address) = serve(export, Features::default()).await;
        let place = place_at(&address);
        let reason = place.lay(KNOWN_CONTENT, true, None).await.unwrap_err();
        assert!(reason.starts_with("the export can't be given known content"), "{reason}");
        let client = place.enter(Form::Richest).await.unwrap();
        assert!(client.read(0, 4096).await.unwrap() == [0xa5; 4096]);
    }
}
