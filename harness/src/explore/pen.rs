//! Writes a script line by line.

use std::collections::BTreeSet;

/// Stands for the name of a connection until it is known whether there are several.
const MARK: char = '\u{1}';

/// How long one wait may take where a server may need its time.
const PATIENCE: &str = "30s";

/// A connection's place in a line.
pub(super) fn at(name: &str) -> String {
    format!("{MARK}{name}{MARK}")
}

/// The lines so far, and what the header will say of them.
#[derive(Debug, Default)]
pub(super) struct Pen {
    lines: Vec<String>,
    names: BTreeSet<String>,
    needs: BTreeSet<String>,
    beyond: BTreeSet<&'static str>,
    since: (u16, u16),
    hazard: Option<&'static str>,
    patient: bool,
}

/// What a header says besides.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// One sentence.
    pub(super) title: String,
    /// The configuration, unless it is the usual one.
    pub(super) export: Option<&'static str>,
}

impl Pen {
    pub(super) fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// `C: ...` of a connection.
    pub(super) fn client(&mut self, name: &str, text: &str) {
        self.names.insert(name.to_owned());
        self.lines.push(format!("C{}: {text}", at(name)));
    }

    /// `S: ...` of a connection.
    pub(super) fn server(&mut self, name: &str, text: &str) {
        self.lines.push(server(name, text));
    }

    /// `-- ...` of a connection.
    pub(super) fn event(&mut self, name: &str, text: &str) {
        self.names.insert(name.to_owned());
        self.lines.push(format!("-- {text} {}", at(name)));
    }

    /// What must hold for the script to make sense.
    pub(super) fn need(&mut self, word: impl Into<String>) {
        self.needs.insert(word.into());
    }

    /// It has something that came with a version of qemu.
    pub(super) fn since(&mut self, version: (u16, u16)) {
        self.since = self.since.max(version);
    }

    /// It has something that has endangered servers.
    pub(super) fn hazard(&mut self, what: &'static str) {
        self.hazard = Some(what);
    }

    /// Something in it may take a server long.
    pub(super) fn patient(&mut self) {
        self.patient = true;
    }

    /// Requests are beyond something on purpose.
    pub(super) fn beyond(&mut self, what: &'static str) {
        self.beyond.insert(what);
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The script.
    pub(super) fn finish(self, header: &Header) -> String {
        let one = self.names.len() <= 1;
        let body: String =
            self.lines.iter().map(|line| format!("{}\n", named(line, one))).collect();
        let checks = tags(&body);
        let (major, minor) = self.since.max((2, 6));
        let mut text = format!(
            "nbd: 1\ntitle: {}\nsince: {major}.{minor}\nfeature: explored sessions\ntests: server\n",
            header.title
        );
        let mut add = |key: &str, words: Vec<&str>| {
            if !words.is_empty() {
                text.push_str(&format!("{key}: {}\n", words.join(" ")));
            }
        };
        add("needs", self.needs.iter().map(String::as_str).collect());
        add("export", header.export.into_iter().collect());
        add("checks", checks.iter().map(String::as_str).collect());
        add("timeout", self.patient.then_some(PATIENCE).into_iter().collect());
        add("hazard", self.hazard.into_iter().collect());
        add("beyond", self.beyond.into_iter().collect());
        format!("{text}\n{body}")
    }
}

/// `S: ...` of a connection.
pub(super) fn server(name: &str, text: &str) -> String {
    format!("S{}: {text}", at(name))
}

/// A line with the names of its connections; the only one has none.
fn named(line: &str, one: bool) -> String {
    let mut parts = line.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
        if !one {
            text.push('@');
            text.push_str(name);
        }
        text.push_str(rest);
    }
    text.trim_end().to_owned()
}

/// The requirements that a text is tagged with or warns of.
fn tags(body: &str) -> BTreeSet<String> {
    let is_id =
        |id: &str| id.len() > 3 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut tags = BTreeSet::new();
    for line in body.lines() {
        for part in line.split('[').skip(1) {
            if let Some((id, _)) = part.split_once(']')
                && is_id(id)
            {
                tags.insert(id.to_owned());
            }
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_connection_has_no_name() {
        let header = Header { title: "one".to_owned(), export: None };
        let mut pen = Pen::default();
        pen.event("a", "to transmission");
        pen.client("a", "NBD_CMD_FLUSH");
        pen.server("a", "reply ok [tflag-not-unsupported]");
        pen.need("SEND_FLUSH");
        insta::assert_snapshot!(pen.finish(&header));
        let mut pen = Pen::default();
        pen.event("a", "to transmission structured");
        pen.event("b", "to haggling");
        insta::assert_snapshot!(pen.finish(&header));
    }
}
