//! What a line of the notation says, before it means anything: names, fields and expressions with
//! their places in the source. Decode output uses the part of it without captures and variables.

use crate::message::Side;
use crate::text::WireString;

/// A stretch of the source, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Something and its place in the source.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The thing.
    pub node: T,
    /// Where it stands.
    pub span: Span,
}

/// Two things are equal wherever they stand.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T> Spanned<T> {
    /// Puts a thing in its place.
    pub fn new(node: T, span: Span) -> Self {
        Self { node, span }
    }
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `has`: all of these flags are set.
    Has,
    /// `lacks`: none of these flags is set.
    Lacks,
}

impl Op {
    /// Whether a number compares so with another; numbers have nothing and lack nothing.
    #[must_use]
    pub const fn holds(self, found: u64, wanted: u64) -> bool {
        match self {
            Self::Eq => found == wanted,
            Self::Ne => found != wanted,
            Self::Lt => found < wanted,
            Self::Le => found <= wanted,
            Self::Gt => found > wanted,
            Self::Ge => found >= wanted,
            Self::Has | Self::Lacks => false,
        }
    }
}

/// `key op value`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldPattern {
    /// The field's name, as [`crate::describe`] gives it.
    pub key: Spanned<String>,
    /// Sent lines only use `=`.
    pub op: Op,
    /// What it is compared with.
    pub value: Spanned<Expr>,
}

/// A word that names a message or its variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `NBD_OPT_GO`, `greeting`, `reply`, `ok`.
    Name(String),
    /// `$opt`: a loop's variable that holds a name.
    Variable(String),
    /// `_`: any.
    Any,
}

/// `[should] SIDE[@conn]: HEAD [VARIANT] field* [tag]*`.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageLine {
    /// A differing field is a warning, not a failure.
    pub should: bool,
    /// Who speaks.
    pub side: Side,
    /// The connection, where there are several.
    pub conn: Option<Spanned<String>>,
    /// What is said. Besides message names: `reply` (exchange height), `bytes` (raw bytes), and for
    /// the other side `end`, `close`, `reset`.
    pub head: Spanned<Word>,
    /// The second word.
    pub variant: Option<Spanned<Word>>,
    /// The fields.
    pub fields: Vec<FieldPattern>,
    /// Requirement ids that a mismatch breaks.
    pub tags: Vec<Spanned<String>>,
    /// The whole line, without comment.
    pub span: Span,
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`; a text times a number repeats the text.
    Mul,
    /// `/`, towards zero.
    Div,
    /// `%`
    Rem,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `has`, of two sets of flags.
    Has,
    /// `lacks`, of two sets of flags.
    Lacks,
    /// `and`
    And,
    /// `or`
    Or,
}

/// A value, or how to get one.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number; `KiB`, `MiB`, `GiB` already multiplied.
    Int(u64),
    /// `"..."`, unescaped.
    Text(WireString),
    /// A bare word: `NBD_OPT_GO`, `NBD_EINVAL`, a cookie's label.
    Name(String),
    /// `{...}`.
    Set(Vec<Spanned<Expr>>),
    /// `65536:3` in a set of extents: length and status.
    Pair(Box<Spanned<Expr>>, Box<Spanned<Expr>>),
    /// `_`: any value.
    Any,
    /// `?x`: any value, which `$x` names from here on.
    Capture(String),
    /// `$x`.
    Variable(String),
    /// `zero*4096 ++ place(1)*$block`.
    Payload(Vec<PartExpr>),
    /// `pow2($min)`, `max($min, 512)`.
    Call(String, Vec<Spanned<Expr>>),
    /// `not x`.
    Not(Box<Spanned<Expr>>),
    /// `a + b`.
    Binary(BinaryOp, Box<Spanned<Expr>>, Box<Spanned<Expr>>),
}

/// A stretch of a payload; see [`crate::payload::Part`].
#[derive(Debug, Clone, PartialEq)]
pub struct PartExpr {
    /// What bytes.
    pub pattern: Pattern,
    /// How many; `None` only for `hex`, which counts itself.
    pub count: Option<Box<Spanned<Expr>>>,
}

/// What bytes a part has.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// `zero`
    Zero,
    /// `fill(byte)`
    Fill(Box<Spanned<Expr>>),
    /// `place(seed)`
    Place(Box<Spanned<Expr>>),
    /// `hex"de ad"`
    Hex(Vec<u8>),
    /// `digest(0123456789abcdef)`
    Digest(u64),
    /// `any`
    Any,
}
