//! Command lines of the user's own, such as `--server 'qemu-nbd -t -p {port} {image}'` and
//! `--client 'mytool {uri}'`. The shell reads them, so that they mean what they mean at a prompt.
//!
//! `{name}` stands for a value, quoted as its place asks for; `{name:TEXT}` for TEXT if `name` has a
//! value this time, else for nothing. Every other brace, `${HOME}` and `\{` are the shell's.

use std::collections::BTreeSet;

use super::error::StartError;
use super::process::find_program;
use super::template::{Value, Values};
use protocol::nearest::nearest;

/// The shell.
pub(super) const SHELL: &str = "/bin/sh";
/// How deep `{a:... {b:...}}` may go.
const DEPTH: usize = 4;

/// A command line with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
    Given(String, Vec<Piece>),
}

impl CommandLine {
    /// Reads a command line that may have the placeholders `known`.
    ///
    /// # Errors
    /// Another placeholder, or one without an end.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let mut rest = text;
        let pieces = pieces(&mut rest, known, 0)?;
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// As the user wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a placeholder occurs, also within another.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let mut all = BTreeSet::new();
        names(&self.pieces, &mut all);
        all.contains(name)
    }

    /// Whether a placeholder occurs outside of its own `{name:...}`.
    #[must_use]
    pub fn is_bare(&self, name: &str) -> bool {
        is_bare(&self.pieces, name)
    }

    /// The program, where it can be seen without the shell's help.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        let word = self.text.split_ascii_whitespace().next()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+@%,".contains(c);
        (word.chars().all(plain) && !is_of_the_shell(word)).then_some(word)
    }

    /// Whether the program is there, as far as that can be seen beforehand.
    ///
    /// # Errors
    /// It is not.
    pub fn can_be_found(&self) -> Result<(), StartError> {
        match self.program() {
            Some(name) if find_program(name, None).is_none() => {
                let hint = "it is looked for in PATH; a path has a `/` in it".to_owned();
                Err(StartError::Missing { program: name.to_owned(), hint })
            }
            _ => Ok(()),
        }
    }

    /// The command for the shell. A placeholder without a value becomes nothing.
    pub(super) fn fill(&self, values: &Values) -> String {
        let mut out = Quoting::default();
        fill(&self.pieces, values, &mut out);
        out.text
    }

    /// The arguments that make the shell run a filled command: in its own place where that is one
    /// program, so that its end is seen as it is.
    pub(super) fn for_shell(&self, filled: &str) -> Vec<String> {
        let exec = if self.program().is_some() && is_simple(filled) { "exec " } else { "" };
        vec!["-c".to_owned(), format!("{exec}{filled}")]
    }
}

/// Whether a command has nothing that joins several.
fn is_simple(command: &str) -> bool {
    let mut quoting = Quoting::default();
    let mut before = ' ';
    command.chars().all(|c| {
        let is_free = quoting.open.is_none() && !quoting.escaped;
        quoting.push(c.encode_utf8(&mut [0; 4]));
        // `2>&1` joins nothing.
        let joins = matches!(c, ';' | '|' | '\n' | '`' | '#') || (c == '&' && before != '>');
        before = c;
        !(is_free && joins)
    })
}

/// Whether the shell takes a word for something of its own.
fn is_of_the_shell(word: &str) -> bool {
    const WORDS: [&str; 22] = [
        ".", ":", "break", "case", "cd", "command", "env", "eval", "exec", "export", "for", "if",
        "nice", "set", "source", "test", "time", "trap", "ulimit", "umask", "until", "while",
    ];
    WORDS.contains(&word)
}

fn pieces(rest: &mut &str, known: &[&str], depth: usize) -> Result<Vec<Piece>, String> {
    let mut out = Vec::new();
    let mut text = String::new();
    let mut before = ' ';
    // Braces that are the shell's, within a placeholder's text.
    let mut open = 0;
    while let Some(next) = rest.chars().next() {
        if next == '{'
            && !matches!(before, '$' | '\\')
            && let Some((name, has_text, after)) = placeholder(rest)
        {
            if !known.contains(&name) {
                return Err(unknown(name, known));
            }
            out.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
            *rest = after;
            if has_text {
                if depth == DEPTH {
                    return Err(format!("`{{{name}:` is too deep within others"));
                }
                let inner = pieces(rest, known, depth + 1)?;
                let end = format!("`{{{name}:` has no end\nhint: `}}` ends it");
                *rest = rest.strip_prefix('}').ok_or(end)?;
                out.push(Piece::Given(name.to_owned(), inner));
            } else {
                out.push(Piece::Name(name.to_owned()));
            }
            before = '}';
            continue;
        }
        match next {
            '{' if depth > 0 => open += 1,
            '}' if depth > 0 && open == 0 => break,
            '}' if depth > 0 => open -= 1,
            _ => {}
        }
        text.push(next);
        before = next;
        *rest = &rest[next.len_utf8()..];
    }
    out.extend((!text.is_empty()).then_some(Piece::Text(text)));
    Ok(out)
}

/// The name of a placeholder at the start of a text, whether a text of its own follows, and what
/// comes after.
fn placeholder(text: &str) -> Option<(&str, bool, &str)> {
    let inside = text.strip_prefix('{')?;
    let end = inside.find(|c: char| !c.is_ascii_lowercase() && c != '-')?;
    let (name, after) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    match after.as_bytes().first()? {
        b'}' => Some((name, false, &after[1..])),
        b':' => Some((name, true, &after[1..])),
        _ => None,
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let hint = match nearest(name, known.iter().copied()).first() {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => {
            let all: Vec<String> = known.iter().map(|name| format!("`{{{name}}}`")).collect();
            format!("known here: {}; `\\{{` is a brace for the shell", all.join(" "))
        }
    };
    format!("`{{{name}}}` is not a placeholder\nhint: {hint}")
}

fn names<'p>(pieces: &'p [Piece], all: &mut BTreeSet<&'p str>) {
    for piece in pieces {
        match piece {
            Piece::Text(_) => {}
            Piece::Name(name) => drop(all.insert(name)),
            Piece::Given(name, inner) => {
                all.insert(name);
                names(inner, all);
            }
        }
    }
}

fn is_bare(pieces: &[Piece], wanted: &str) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Text(_) => false,
        Piece::Name(name) => name == wanted,
        Piece::Given(name, inner) => name != wanted && is_bare(inner, wanted),
    })
}

fn fill(pieces: &[Piece], values: &Values, out: &mut Quoting) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push(text),
            Piece::Name(name) => {
                if let Some(Value::Text(value)) = values.get(name.as_str()) {
                    out.push_value(value);
                }
            }
            Piece::Given(name, inner) => {
                if values.contains_key(name.as_str()) {
                    fill(inner, values, out);
                }
            }
        }
    }
}

/// A text for the shell, and which quotes are open at its end.
#[derive(Debug, Default)]
struct Quoting {
    text: String,
    open: Option<char>,
    escaped: bool,
}

impl Quoting {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            match (self.open, c) {
                _ if self.escaped => self.escaped = false,
                (Some('\''), '\'') | (Some('"'), '"') => self.open = None,
                (None, '\'' | '"') => self.open = Some(c),
                (None | Some('"'), '\\') => self.escaped = true,
                _ => {}
            }
        }
        self.text.push_str(text);
    }

    /// A value, so that the shell takes it as it is.
    fn push_value(&mut self, value: &str) {
        match self.open {
            None => self.text.push_str(&quoted(value)),
            Some('\'') => self.text.push_str(&value.replace('\'', r"'\''")),
            Some(_) => {
                for c in value.chars() {
                    if matches!(c, '"' | '\\' | '$' | '`') {
                        self.text.push('\\');
                    }
                    self.text.push(c);
                }
            }
        }
    }
}

/// A word as one types it for a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A command line as one would type it.
pub(super) fn shown(program: &str, args: &[String]) -> String {
    let words = std::iter::once(program).chain(args.iter().map(String::as_str));
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: [&str; 6] = ["port", "image", "size", "read-only", "tls-dir", "uri"];

    fn values(pairs: &[(&'static str, &str)]) -> Values {
        pairs.iter().map(|&(name, value)| (name, Value::Text(value.to_owned()))).collect()
    }

    fn filled(text: &str, pairs: &[(&'static str, &str)]) -> String {
        CommandLine::parse(text, &KNOWN).unwrap().fill(&values(pairs))
    }

    #[test]
    fn a_text_is_there_if_its_name_has_a_value() {
        let text = "s -p {port}{read-only: --readonly} {tls-dir:--creds dir={tls-dir} x} {image}";
        assert_eq!(filled(text, &[("port", "1"), ("image", "/i")]), "s -p 1  /i");
        assert_eq!(
            filled(text, &[("port", "1"), ("image", "/i"), ("read-only", ""), ("tls-dir", "/t")]),
            "s -p 1 --readonly --creds dir=/t x /i"
        );
    }

    #[test]
    fn values_are_quoted_as_their_place_asks_for() {
        let it = [("image", "/a b'\"$c")];
        assert_eq!(filled("x {image}", &it), r#"x '/a b'\''"$c'"#);
        assert_eq!(filled("x 'f={image}'", &it), r#"x 'f=/a b'\''"$c'"#);
        assert_eq!(filled(r#"x "f={image}""#, &it), r#"x "f=/a b'\"\$c""#);
        assert_eq!(filled(r#"x \"{image}"#, &[("image", "/a b")]), r#"x \"'/a b'"#);
    }

    #[test]
    fn other_braces_are_the_shells() {
        let text =
            r#"{ a; } ${HOME} json:{"x":{"y":1}} {{.ID}} \{port} awk '{print}' {port:a ${b} {c }}"#;
        let known = ["port", "print"];
        let line = CommandLine::parse(text, &known).unwrap();
        assert_eq!(
            line.fill(&values(&[("port", "1"), ("print", "{print}")])),
            r#"{ a; } ${HOME} json:{"x":{"y":1}} {{.ID}} \{port} awk '{print}' a ${b} {c }"#
        );
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text| CommandLine::parse(text, &KNOWN).unwrap_err();
        insta::assert_snapshot!(error("x {prot}"), @r"
        `{prot}` is not a placeholder
        hint: did you mean `{port}`?
        ");
        insta::assert_snapshot!(error("x {something}"), @r"
        `{something}` is not a placeholder
        hint: known here: `{port}` `{image}` `{size}` `{read-only}` `{tls-dir}` `{uri}`; `\{` is a brace for the shell
        ");
        insta::assert_snapshot!(error("x {read-only:-r"), @r"
        `{read-only:` has no end
        hint: `}` ends it
        ");
    }

    #[test]
    fn the_program_is_seen_where_the_shell_has_no_say() {
        let program = |text| CommandLine::parse(text, &KNOWN).unwrap().program().map(str::to_owned);
        assert_eq!(program("qemu-nbd -p {port}").as_deref(), Some("qemu-nbd"));
        assert_eq!(program("./a/b {uri}").as_deref(), Some("./a/b"));
        for text in ["A=1 x {uri}", "cd /x && y {uri}", "'my tool' {uri}", "~/x {uri}", "", "(a)"] {
            assert_eq!(program(text), None, "{text}");
        }
    }

    #[test]
    fn one_program_takes_the_place_of_the_shell() {
        let args = |text| CommandLine::parse(text, &KNOWN).unwrap().for_shell(text);
        let text = "x -p 1 'a;b' \"c|d\" e\\;f >/dev/null 2>&1";
        assert_eq!(args(text), ["-c".to_owned(), format!("exec {text}")]);
        for text in ["A=1 x", "cd a", "x; y", "x && y", "x | y", "x &", "x\ny", "(x)"] {
            assert_eq!(args(text), ["-c", text]);
        }
    }

    proptest! {
        /// Whatever a value is, the shell sees it as it is.
        #[test]
        fn the_shell_gives_a_value_back(value in "[ -~]{0,12}", place in 0..3usize) {
            let text = [r"printf %s {image}", r"printf %s '{image}'", r#"printf %s "{image}""#][place];
            let command = filled(text, &[("image", &value)]);
            let out = std::process::Command::new(SHELL).args(["-c", &command]).output().unwrap();
            prop_assert_eq!(String::from_utf8(out.stdout).unwrap(), value);
        }
    }
}
