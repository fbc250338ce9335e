//! Servers that `run --server 'CMD'` describes: a peer file made of a command line. Which
//! configurations it can give follows from the placeholders that the command has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::{CommandLine, SHELL};
use super::error::PeerError;
use super::file::{Common, Configuration, Server};
use super::image::Content;
use super::schema::{ImageText, StartText, TlsKind, Transport, VersionText};
use super::template::{Value, Values};

/// The placeholders of a server's command.
const WORDS: [&str; 10] =
    ["port", "socket", "image", "size", "read-only", "block", "name", "dir", "tls-dir", "psk-dir"];
/// Those that have a value in some configurations only.
const OPTIONAL: [&str; 4] = ["read-only", "block", "tls-dir", "psk-dir"];
/// How long it may take until the server greets, at least.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to end after `SIGTERM`.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// The name that `{name}` gives to the export, if the user names no other.
const EXPORT: &str = "disk";

/// A server that is started by a command.
///
/// # Errors
/// The placeholders are not such that the server can be reached.
pub(super) fn server(text: &str, export: Option<&str>) -> Result<Server, PeerError> {
    let error = |reason: String| PeerError::Command { command: text.to_owned(), reason };
    let line = CommandLine::parse(text, &WORDS).map_err(error)?;
    check(&line).map_err(error)?;
    let none = Vec::new;
    let listen = [(Transport::Tcp, "port"), (Transport::Unix, "socket")];
    let listen: BTreeMap<_, _> = listen
        .into_iter()
        .filter(|(_, name)| line.has(name))
        .map(|(transport, _)| (transport, none()))
        .collect();
    let x509 = [TlsKind::X509, TlsKind::X509Verify, TlsKind::X509NoVerify, TlsKind::X509Selective];
    let psk = [TlsKind::Psk, TlsKind::PskSelective];
    let x509 = x509.into_iter().filter(|_| line.has("tls-dir"));
    let psk = psk.into_iter().filter(|_| line.has("psk-dir"));
    let tls = x509.chain(psk).map(|kind| (kind, none())).collect();
    Ok(Server {
        common: Common {
            name: text.to_owned(),
            title: "a command of the user's own".to_owned(),
            program: SHELL.to_owned(),
            install: "it is the user's own".to_owned(),
            env: BTreeMap::new(),
            version: VersionText { args: none(), pattern: String::new() },
            known: None,
        },
        origin: text.to_owned(),
        start: StartText {
            args: none(),
            daemon: false,
            ready_within: READY_WITHIN,
            stop_within: STOP_WITHIN,
            files: Vec::new(),
        },
        listen,
        listen_tls: BTreeMap::new(),
        tls,
        configurations: configurations(&line, export),
        cannot: cannot(&line),
        command: Some(line),
    })
}

fn check(line: &CommandLine) -> Result<(), String> {
    if !line.has("port") && !line.has("socket") {
        return Err(
            "it needs `{port}` or `{socket}`, so that the server listens where nbdcheck looks \
                    for it\nhint: --server 'mine --port {port}'"
                .to_owned(),
        );
    }
    if line.has("port") && line.has("socket") && (line.is_bare("port") || line.is_bare("socket")) {
        return Err("it has `{port}` and `{socket}`, but each start is given one of them\nhint: \
                    `{port:--port {port}}{socket:--socket {socket}}`"
            .to_owned());
    }
    match OPTIONAL.into_iter().find(|name| line.is_bare(name)) {
        Some(name @ ("read-only" | "block")) => Err(format!(
            "`{{{name}}}` has a value in some configurations only\nhint: `{{{name}:--option}}` is the \
             text in those and nothing in others"
        )),
        Some(name) => Err(format!(
            "`{{{name}}}` has a value in some configurations only\nhint: `{{{name}:--option \
             {{{name}}}}}` is the text in those and nothing in others"
        )),
        None => Ok(()),
    }
}

fn configurations(line: &CommandLine, export: Option<&str>) -> BTreeMap<String, Configuration> {
    let has_image = line.has("image");
    let mut all = BTreeMap::new();
    let mut add = |name: &str, size: &str, content| {
        let size = size.to_owned();
        let image = has_image.then(|| ImageText { size: size.clone(), content });
        let one = Configuration {
            export: export.unwrap_or(if line.has("name") { EXPORT } else { "" }).to_owned(),
            image,
            size: Some(size),
            files: Vec::new(),
            prepare: Vec::new(),
            args: Vec::new(),
            note: None,
        };
        all.insert(name.to_owned(), one);
    };
    add("default", "16MiB", Content::Known);
    add("blank", "16MiB", Content::Blank);
    if has_image || line.has("size") {
        for name in ["large", "vast", "vast-blocks"] {
            add(name, "9GiB", Content::Known);
        }
        add("odd-size", "1000001", Content::Known);
        add("size-*", "{value}", Content::Known);
    }
    if line.has("read-only") {
        add("read-only", "16MiB", Content::Known);
    }
    if line.has("block") {
        add("block-*", "16MiB", Content::Known);
    }
    all
}

/// What the placeholders that are missing would make possible.
fn cannot(line: &CommandLine) -> BTreeMap<String, String> {
    let sized = line.has("image") || line.has("size");
    let all = [
        ("tcp", line.has("port"), "`{port}`"),
        ("unix", line.has("socket"), "`{socket}`"),
        ("read-only", line.has("read-only"), "`{read-only:...}`"),
        ("block-*", line.has("block"), "`{block:...}`"),
        ("size-*", sized, "`{size}` or `{image}`"),
        ("odd-size", sized, "`{size}` or `{image}`"),
        ("large", sized, "`{size}` or `{image}`"),
        ("vast", sized, "`{size}` or `{image}`"),
        ("vast-blocks", sized, "`{size}` or `{image}`"),
        ("x509", line.has("tls-dir"), "`{tls-dir:...}`"),
        ("x509-verify", line.has("tls-dir"), "`{tls-dir:...}`"),
        ("x509-no-verify", line.has("tls-dir"), "`{tls-dir:...}`"),
        ("x509-selective", line.has("tls-dir"), "`{tls-dir:...}`"),
        ("psk", line.has("psk-dir"), "`{psk-dir:...}`"),
        ("psk-selective", line.has("psk-dir"), "`{psk-dir:...}`"),
    ];
    let missing = all.into_iter().filter(|(_, has, _)| !has);
    missing.map(|(name, _, word)| (name.to_owned(), format!("the command has no {word}"))).collect()
}

/// The values of the placeholders that only some configurations have.
pub(super) fn set_optional(configuration: &str, value: Option<u64>, values: &mut Values) {
    if configuration == "read-only" {
        values.insert("read-only", Value::Text(String::new()));
    }
    if let (true, Some(value)) = (configuration.starts_with("block-"), value) {
        values.insert("block", Value::Text(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::PeerFile;

    fn all(command: &str) -> String {
        let peer = PeerFile::from_command(command, None).unwrap();
        peer.configurations().collect::<Vec<_>>().join(" ")
    }

    fn error(command: &str) -> String {
        PeerFile::from_command(command, None).unwrap_err().to_string()
    }

    #[test]
    fn configurations_follow_from_placeholders() {
        insta::assert_snapshot!(all("s -p {port}"), @"blank default");
        insta::assert_snapshot!(
            all("s -p {port} {read-only:-r} {block:-b {block}} {image}"),
            @"blank block-* default large odd-size read-only size-* vast vast-blocks"
        );
        let peer = PeerFile::from_command("s -p {port}", None).unwrap();
        insta::assert_snapshot!(peer.supports("read-only").unwrap_err(), @"the command has no `{read-only:...}`");
        insta::assert_snapshot!(peer.supports("size-511").unwrap_err(), @"the command has no `{size}` or `{image}`");
        insta::assert_snapshot!(peer.supports("bitmap").unwrap_err(), @"no placeholder of a command makes the server so (`bitmap`): a peer file can");
    }

    #[test]
    fn a_command_that_cannot_do_is_told_why() {
        insta::assert_snapshot!(error("s {image}"), @r"
        `s {image}` can't be a peer: it needs `{port}` or `{socket}`, so that the server listens where nbdcheck looks for it
        hint: --server 'mine --port {port}'
        ");
        insta::assert_snapshot!(error("s {port} {socket}"), @r"
        `s {port} {socket}` can't be a peer: it has `{port}` and `{socket}`, but each start is given one of them
        hint: `{port:--port {port}}{socket:--socket {socket}}`
        ");
        insta::assert_snapshot!(error("s {port} {read-only}"), @r"
        `s {port} {read-only}` can't be a peer: `{read-only}` has a value in some configurations only
        hint: `{read-only:--option}` is the text in those and nothing in others
        ");
        insta::assert_snapshot!(error("s {port} --tls={tls-dir}"), @r"
        `s {port} --tls={tls-dir}` can't be a peer: `{tls-dir}` has a value in some configurations only
        hint: `{tls-dir:--option {tls-dir}}` is the text in those and nothing in others
        ");
        assert!(PeerFile::from_command("s {port:-p {port}}{socket:-s {socket}}", None).is_ok());
    }
}
