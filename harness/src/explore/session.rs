//! A session as the generator makes it: what clients do, without the numbers that depend on the server.
//!
//! Every value stands for a session that can be played, so that whatever shrinking leaves out makes
//! another one. The simplest value of everything comes first: proptest shrinks towards it.

use proptest::collection::vec;
use proptest::prelude::*;

/// How many connections a session may have at a time.
pub(super) const CONNECTIONS: usize = 3;
/// How many things clients do in a session.
const ACTS: usize = 14;

/// What some clients do, one thing after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// In which configuration the server is, where there is a choice.
    pub(super) setting: Setting,
    /// How messages are cut.
    pub(super) sending: Sending,
    /// How each connection gets to the export.
    pub(super) entries: Vec<Entry>,
    /// What is done.
    pub(super) acts: Vec<Act>,
}

/// A configuration of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Setting {
    /// As it is.
    Default,
    /// A read-only export.
    ReadOnly,
    /// Minimum block sizes.
    Block512,
    /// The same, larger.
    Block4096,
    /// A size that is no multiple of anything.
    OddSize,
    /// Several exports.
    Many,
    /// Dirty bitmaps.
    Bitmap,
    /// A backing file.
    Backing,
    /// A part that can't be read.
    Errors,
    /// More than 4 GiB.
    Large,
    /// TLS is a must.
    TlsForced,
    /// TLS for those who ask.
    TlsSelective,
    /// An export that is only there inside TLS.
    TlsOnly,
    /// The oldest handshake.
    Oldstyle,
}

impl Setting {
    /// The name of the configuration in scripts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::ReadOnly => "read-only",
            Self::Block512 => "block-512",
            Self::Block4096 => "block-4096",
            Self::OddSize => "odd-size",
            Self::Many => "many",
            Self::Bitmap => "bitmap",
            Self::Backing => "backing",
            Self::Errors => "errors",
            Self::Large => "large",
            Self::TlsForced => "tls-forced",
            Self::TlsSelective => "tls-selective",
            Self::TlsOnly => "tls-only",
            Self::Oldstyle => "oldstyle",
        }
    }

    /// Whether it is about TLS.
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::TlsForced | Self::TlsSelective | Self::TlsOnly)
    }
}

/// How messages are cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// One write each.
    Whole,
    /// Together, as far as nothing is waited for.
    Coalesced,
}

/// How a connection gets to the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The form of replies that is negotiated.
    pub(super) form: Form,
    /// Which metadata context is selected, where there is one: 0 for none.
    pub(super) context: u8,
    /// What else is asked before.
    pub(super) options: Vec<Opt>,
    /// The last option.
    pub(super) route: Route,
}

/// The form of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Simple ones.
    Simple,
    /// Structured ones.
    Structured,
    /// Extended headers.
    Extended,
}

/// The option that ends the haggling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Whatever is usual.
    Plain,
    /// `NBD_OPT_GO` with these information requests.
    Go(Infos),
    /// `NBD_OPT_EXPORT_NAME`, with NO_ZEROES or without.
    ExportName(bool),
}

/// Information requests: bits for EXPORT, NAME, DESCRIPTION, BLOCK_SIZE and one that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Infos(pub(super) u8);

/// An option and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opt {
    /// `NBD_OPT_LIST`.
    List,
    /// `NBD_OPT_INFO` about the export.
    Info(Infos),
    /// The same about the first that are listed.
    InfoListed,
    /// `NBD_OPT_INFO` or `NBD_OPT_GO` about an export that there is not.
    Missing(bool, Infos),
    /// `NBD_OPT_STRUCTURED_REPLY`.
    Structured,
    /// `NBD_OPT_EXTENDED_HEADERS`.
    Extended,
    /// `NBD_OPT_LIST_META_CONTEXT` or `NBD_OPT_SET_META_CONTEXT` with these queries.
    Contexts(bool, Vec<Query>),
    /// An option that nobody knows, with so many bytes of data.
    Unknown(u32, u16),
    /// `NBD_OPT_PEEK_EXPORT`, which was withdrawn.
    Peek,
    /// `NBD_OPT_STARTTLS`, and TLS.
    Tls,
}

/// A query for metadata contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// One that the server lists.
    Listed(u8),
    /// All of a namespace.
    Namespace,
    /// All of `qemu:`.
    Qemu,
    /// All bitmaps.
    Bitmaps,
    /// Of a namespace that nobody has.
    Foreign,
    /// Almost the name of one.
    Almost,
}

/// Where in the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Near what.
    pub(super) anchor: Anchor,
    /// How many units from there.
    pub(super) shift: i8,
    /// How large a unit is.
    pub(super) unit: Unit,
}

/// Places where something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The first byte.
    Start,
    /// Where the last request was.
    Again,
    /// The end of the data at the start.
    DataEnd,
    /// Amid a hole.
    Hole,
    /// The second stretch of data.
    Island,
    /// The end of the export.
    End,
    /// What can't be read, where there is such a thing; the data otherwise.
    Inside,
    /// Where bitmaps are dirty.
    Dirty,
    /// Beyond 4 GiB, if the export goes on there.
    Far,
}

/// A step from an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// 64 KiB.
    Large,
    /// A page.
    Page,
    /// A block.
    Block,
    /// A byte, or the minimum block size.
    Byte,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// A block.
    Block,
    /// As long as the last request.
    Again,
    /// Some pages.
    Pages(u8),
    /// Some pieces of 64 KiB.
    Pieces(u8),
    /// A few bytes, where the minimum block size allows it.
    Odd(u16),
    /// Some MiB.
    Large(u8),
    /// As much as the server takes.
    Maximum,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// A request; where it is held, the answer is awaited later.
    Ask { on: u8, ask: Ask, held: bool },
    /// A connection is left by `NBD_CMD_DISC`.
    Leave { on: u8 },
    /// A connection is dropped without a word.
    Drop { on: u8, reset: bool },
    /// A connection that only haggles, and ends that by `NBD_OPT_ABORT` or without a word.
    Haggle { options: Vec<Opt>, aborts: bool },
    /// What one connection has read is written by another, and read again.
    /// Of its steps there are the more the larger `parts` is, all from 4 on.
    Round { reader: u8, writer: u8, spot: Spot, length: Length, how: Round, parts: u8 },
    /// A part of what was written is changed, and all of it is read.
    Patch { on: u8, spot: Spot, ask: Ask, how: Inner, parts: u8 },
    /// Something that is not quite lawful, on a connection of its own.
    Slip(Slip),
}

impl Act {
    /// Whether it is not quite lawful.
    pub(super) fn is_slip(&self) -> bool {
        matches!(self, Self::Slip(_))
    }
}

/// A lawful request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// `NBD_CMD_READ`, with DF and FUA or without.
    Read { spot: Spot, length: Length, whole: bool, fua: bool },
    /// `NBD_CMD_WRITE`.
    Write { spot: Spot, length: Length, fua: bool },
    /// `NBD_CMD_WRITE_ZEROES` with NO_HOLE and FAST_ZERO or without.
    Zeroes { spot: Spot, length: Length, no_hole: bool, fast: bool, fua: bool },
    /// `NBD_CMD_TRIM`.
    Trim { spot: Spot, length: Length, fua: bool },
    /// `NBD_CMD_CACHE`.
    Cache { spot: Spot, length: Length },
    /// `NBD_CMD_FLUSH`.
    Flush { fua: bool },
    /// `NBD_CMD_BLOCK_STATUS` with REQ_ONE or without, with a payload or without.
    Status { spot: Spot, length: Length, one: bool, payload: bool },
}

/// How a write is made visible to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// By `NBD_CMD_FLUSH`.
    Flush,
    /// By FUA.
    Fua,
    /// By `NBD_CMD_FLUSH`, and the part was cached instead of read before.
    Cache,
}

/// Where in what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inner {
    /// How many units from its start.
    pub(super) shift: i8,
    /// How large a unit is.
    pub(super) unit: Unit,
    /// How long.
    pub(super) length: Length,
}

/// A command that a slip is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `NBD_CMD_READ`.
    Read,
    /// `NBD_CMD_WRITE`.
    Write,
    /// `NBD_CMD_TRIM`.
    Trim,
    /// `NBD_CMD_WRITE_ZEROES`.
    Zeroes,
    /// `NBD_CMD_CACHE`.
    Cache,
    /// `NBD_CMD_BLOCK_STATUS`.
    Status,
    /// `NBD_CMD_FLUSH`.
    Flush,
}

/// How a request leaves the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It begins at the end.
    At,
    /// It begins before the end and goes over it.
    Across,
    /// Far away.
    Far,
    /// Its end is too large for 64 bits.
    Wraps,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slip {
    /// A request beyond the end of the export.
    Beyond { form: Form, kind: Kind, how: Beyond },
    /// One that is not aligned to the minimum block size.
    Unaligned { form: Form, kind: Kind },
    /// A command flag that nobody knows.
    UnknownFlag { form: Form, kind: Kind },
    /// A command flag that is not for this command: 2 to 5.
    OtherFlag { form: Form, kind: Kind, bit: u8 },
    /// A command that nobody knows.
    UnknownCommand { form: Form, number: u16 },
    /// A length of 0.
    Empty { form: Form, kind: Kind },
    /// A longer effect than the largest payload.
    Longest { form: Form, kind: Kind },
    /// The status of contexts that were not selected; also where a selection was for another export, or was
    /// replaced.
    NoContext { replaced: bool },
    /// A payload of `NBD_CMD_BLOCK_STATUS` with an id that there is not, or the same twice.
    Ids { twice: bool },
    /// A request in flight, and at once the farewell.
    DiscBeside { kind: Kind },
    /// A farewell with odd fields.
    OddDisc,
    /// Client flags that nobody knows.
    ClientFlags { bit: u8 },
    /// Data where an option has none.
    Data { option: u8 },
    /// `NBD_OPT_EXPORT_NAME` of an export that there is not.
    MissingByName,
    /// `NBD_OPT_SET_META_CONTEXT` before structured replies.
    SetEarly,
    /// `NBD_OPT_INFO` or `NBD_OPT_GO` with bytes behind its end.
    Trailing { go: bool },
    /// A context option that is cut short.
    ShortQueries { set: bool },
    /// A long name.
    LongName { go: bool, length: u16 },
    /// What TLS forbids: an option in the clear behind STARTTLS, STARTTLS twice, garbage instead of a
    /// handshake.
    Tls { how: u8 },
}

fn spot() -> BoxedStrategy<Spot> {
    let others = prop_oneof![
        6 => Just(Anchor::Again),
        3 => Just(Anchor::DataEnd),
        2 => Just(Anchor::Hole),
        2 => Just(Anchor::Island),
        3 => Just(Anchor::End),
        2 => Just(Anchor::Inside),
        1 => Just(Anchor::Dirty),
        1 => Just(Anchor::Far),
    ];
    let anchor = simply(Anchor::Start, 3, others.no_shrink().boxed(), 20);
    let unit = prop_oneof![
        3 => Just(Unit::Large),
        3 => Just(Unit::Page),
        3 => Just(Unit::Block),
        1 => Just(Unit::Byte),
    ];
    let shift = prop_oneof![4 => Just(0i8), 3 => -4i8..=4];
    (anchor, shift, unit).prop_map(|(anchor, shift, unit)| Spot { anchor, shift, unit }).boxed()
}

fn length() -> BoxedStrategy<Length> {
    let others = prop_oneof![
        4 => Just(Length::Again),
        6 => (1u8..=16).prop_map(Length::Pages),
        4 => (1u8..=4).prop_map(Length::Pieces),
        3 => (1u16..=9000).prop_map(Length::Odd),
        1 => (1u8..=4).prop_map(Length::Large),
    ];
    simply(Length::Block, 4, others.boxed(), 18)
}

/// With now and then a length that moves a lot.
fn any_length() -> BoxedStrategy<Length> {
    prop_oneof![40 => length(), 1 => Just(Length::Maximum)].boxed()
}

fn seldom() -> BoxedStrategy<bool> {
    prop_oneof![3 => Just(false), 1 => Just(true)].boxed()
}

fn form() -> BoxedStrategy<Form> {
    prop_oneof![3 => Just(Form::Simple), 4 => Just(Form::Structured), 3 => Just(Form::Extended)]
        .boxed()
}

fn infos() -> BoxedStrategy<Infos> {
    prop_oneof![3 => Just(Infos(8)), 2 => (0u8..32).prop_map(Infos)].boxed()
}

fn query() -> BoxedStrategy<Query> {
    prop_oneof![
        5 => (0u8..4).prop_map(Query::Listed),
        1 => Just(Query::Namespace),
        1 => Just(Query::Qemu),
        1 => Just(Query::Bitmaps),
        1 => Just(Query::Foreign),
        1 => Just(Query::Almost),
    ]
    .boxed()
}

fn opt() -> BoxedStrategy<Opt> {
    prop_oneof![
        3 => Just(Opt::List),
        3 => infos().prop_map(Opt::Info),
        1 => Just(Opt::InfoListed),
        2 => (any::<bool>(), infos()).prop_map(|(go, infos)| Opt::Missing(go, infos)),
        2 => Just(Opt::Structured),
        2 => Just(Opt::Extended),
        5 => (any::<bool>(), vec(query(), 0..4)).prop_map(|(set, all)| Opt::Contexts(set, all)),
        2 => (0u32..4, prop_oneof![Just(0u16), Just(16), 1u16..4096])
            .prop_map(|(number, bytes)| Opt::Unknown(number, bytes)),
        1 => Just(Opt::Peek),
        2 => Just(Opt::Tls),
    ]
    .boxed()
}

fn entry() -> BoxedStrategy<Entry> {
    let route = prop_oneof![
        5 => Just(Route::Plain),
        2 => infos().prop_map(Route::Go),
        1 => any::<bool>().prop_map(Route::ExportName),
    ];
    let context = prop_oneof![1 => Just(0u8), 3 => 1u8..4];
    let options = prop_oneof![3 => Just(Vec::new()), 1 => vec(opt(), 1..4)];
    (form(), context, options, route)
        .prop_map(|(form, context, options, route)| Entry { form, context, options, route })
        .boxed()
}

fn ask() -> BoxedStrategy<Ask> {
    prop_oneof![
        8 => (spot(), any_length(), seldom(), seldom())
            .prop_map(|(spot, length, whole, fua)| Ask::Read { spot, length, whole, fua }),
        8 => (spot(), any_length(), seldom())
            .prop_map(|(spot, length, fua)| Ask::Write { spot, length, fua }),
        5 => (spot(), length(), seldom(), seldom(), seldom()).prop_map(
            |(spot, length, no_hole, fast, fua)| Ask::Zeroes { spot, length, no_hole, fast, fua }
        ),
        3 => (spot(), length(), seldom())
            .prop_map(|(spot, length, fua)| Ask::Trim { spot, length, fua }),
        2 => (spot(), length()).prop_map(|(spot, length)| Ask::Cache { spot, length }),
        3 => seldom().prop_map(|fua| Ask::Flush { fua }),
        5 => (spot(), length(), seldom(), seldom()).prop_map(|(spot, length, one, payload)| {
            Ask::Status { spot, length, one, payload }
        }),
    ]
    .boxed()
}

fn kind() -> BoxedStrategy<Kind> {
    prop_oneof![
        2 => Just(Kind::Read),
        2 => Just(Kind::Write),
        1 => Just(Kind::Trim),
        1 => Just(Kind::Zeroes),
        1 => Just(Kind::Cache),
        1 => Just(Kind::Status),
        1 => Just(Kind::Flush),
    ]
    .boxed()
}

fn slip() -> BoxedStrategy<Slip> {
    let beyond =
        prop_oneof![Just(Beyond::At), Just(Beyond::Across), Just(Beyond::Far), Just(Beyond::Wraps)];
    let requests = prop_oneof![
        4 => (form(), kind(), beyond).prop_map(|(form, kind, how)| Slip::Beyond { form, kind, how }),
        1 => (form(), kind()).prop_map(|(form, kind)| Slip::Unaligned { form, kind }),
        2 => (form(), kind()).prop_map(|(form, kind)| Slip::UnknownFlag { form, kind }),
        3 => (form(), kind(), 1u8..6)
            .prop_map(|(form, kind, bit)| Slip::OtherFlag { form, kind, bit }),
        2 => (form(), 9u16..300).prop_map(|(form, number)| Slip::UnknownCommand { form, number }),
        3 => (form(), kind()).prop_map(|(form, kind)| Slip::Empty { form, kind }),
        2 => (form(), kind()).prop_map(|(form, kind)| Slip::Longest { form, kind }),
        2 => any::<bool>().prop_map(|replaced| Slip::NoContext { replaced }),
        2 => any::<bool>().prop_map(|twice| Slip::Ids { twice }),
        2 => kind().prop_map(|kind| Slip::DiscBeside { kind }),
        1 => Just(Slip::OddDisc),
    ];
    let options = prop_oneof![
        1 => (2u8..32).prop_map(|bit| Slip::ClientFlags { bit }),
        4 => (0u8..5).prop_map(|option| Slip::Data { option }),
        1 => Just(Slip::MissingByName),
        1 => Just(Slip::SetEarly),
        2 => any::<bool>().prop_map(|go| Slip::Trailing { go }),
        2 => any::<bool>().prop_map(|set| Slip::ShortQueries { set }),
        1 => (any::<bool>(), 250u16..520).prop_map(|(go, length)| Slip::LongName { go, length }),
        3 => (0u8..4).prop_map(|how| Slip::Tls { how }),
    ];
    prop_oneof![3 => requests, 2 => options].boxed()
}

fn round() -> BoxedStrategy<Act> {
    let on = 0u8..CONNECTIONS as u8;
    let how = prop_oneof![2 => Just(Round::Flush), 1 => Just(Round::Fua), 1 => Just(Round::Cache)];
    (on.clone(), on, spot(), length(), how, 0u8..=9)
        .prop_map(|(reader, writer, spot, length, how, parts)| Act::Round {
            reader,
            writer,
            spot,
            length,
            how,
            parts,
        })
        .boxed()
}

fn patch() -> BoxedStrategy<Act> {
    let unit = prop_oneof![Just(Unit::Page), Just(Unit::Block), Just(Unit::Byte)];
    let length = prop_oneof![
        2 => Just(Length::Block),
        2 => (1u8..=6).prop_map(Length::Pages),
        2 => (1u16..=9000).prop_map(Length::Odd),
    ];
    let inner =
        (1i8..=7, unit, length).prop_map(|(shift, unit, length)| Inner { shift, unit, length });
    (0u8..CONNECTIONS as u8, spot(), ask(), inner, 0u8..=9)
        .prop_map(|(on, spot, ask, how, parts)| Act::Patch { on, spot, ask, how, parts })
        .boxed()
}

fn act(slips: bool) -> BoxedStrategy<Act> {
    let on = 0u8..CONNECTIONS as u8;
    let lawful = prop_oneof![
        30 => (on.clone(), ask(), seldom()).prop_map(|(on, ask, held)| Act::Ask { on, ask, held }),
        4 => round(),
        5 => patch(),
        3 => on.clone().prop_map(|on| Act::Leave { on }),
        1 => (on, any::<bool>()).prop_map(|(on, reset)| Act::Drop { on, reset }),
        4 => (vec(opt(), 0..6), any::<bool>())
            .prop_map(|(options, aborts)| Act::Haggle { options, aborts }),
    ];
    match slips {
        false => lawful.boxed(),
        true => prop_oneof![1 => lawful, 1 => slip().prop_map(Act::Slip)].boxed(),
    }
}

fn setting() -> BoxedStrategy<Setting> {
    let others = prop_oneof![
        4 => Just(Setting::ReadOnly),
        3 => Just(Setting::Block512),
        3 => Just(Setting::Block4096),
        3 => Just(Setting::OddSize),
        6 => Just(Setting::Many),
        6 => Just(Setting::Bitmap),
        4 => Just(Setting::Backing),
        4 => Just(Setting::Errors),
        5 => Just(Setting::Large),
        6 => Just(Setting::TlsForced),
        5 => Just(Setting::TlsSelective),
        4 => Just(Setting::TlsOnly),
        2 => Just(Setting::Oldstyle),
    ];
    // It shrinks to the usual one, or not at all.
    simply(Setting::Default, 1, others.no_shrink().boxed(), 1)
}

/// The simplest value, or now and then another one: it shrinks to the simplest at once.
fn simply<T: Clone + std::fmt::Debug + 'static>(
    simplest: T,
    often: u32,
    others: BoxedStrategy<T>,
    seldom: u32,
) -> BoxedStrategy<T> {
    prop_oneof![often => Just(simplest), seldom => others].boxed()
}

/// Sessions, with slips or without.
pub(super) fn sessions(slips: bool) -> BoxedStrategy<Session> {
    let sending = prop_oneof![4 => Just(Sending::Whole), 1 => Just(Sending::Coalesced)];
    let entries = vec(entry(), CONNECTIONS);
    (setting(), sending, entries, vec(act(slips), 1..ACTS))
        .prop_map(|(setting, sending, entries, acts)| Session { setting, sending, entries, acts })
        .boxed()
}
