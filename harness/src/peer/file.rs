//! Peer files: how a program is started, as data. What is read here is checked here: a file that
//! loads can only fail because of the machine.

use include_dir::{Dir, include_dir};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::nearest::did_you_mean;
use protocol::units;

use super::command::CommandLine;
use super::error::PeerError;
use super::release::release;
use super::schema::{
    ClientText, ClientTls, ConfigurationText, FileText, ImageText, ServerText, StartText, TlsKind,
    Transport, VersionText,
};
use super::template;

/// The files that come with the program.
static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/peers");
/// The version of the files' format.
const FORMAT: u32 = 1;
/// Peer files are small; a larger one is something else.
const FILE_LIMIT: u64 = 1 << 20;
/// How many `like` may lead from one configuration to the next.
const LIKE_LIMIT: usize = 8;

/// The placeholders of a server's arguments and files.
const SERVER_WORDS: [&str; 9] =
    ["port", "socket", "image", "dir", "size", "pidfile", "name", "value", "tls-dir"];
/// Those that stand for several words.
const SERVER_LISTS: [&str; 3] = ["listen", "tls", "args"];
/// The placeholders of a client's arguments.
pub(super) const CLIENT_WORDS: [&str; 10] =
    ["uri", "host", "port", "socket", "name", "offset", "length", "file", "dir", "tls-dir"];

/// What servers and clients have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    /// As given on the command line: `qemu-nbd`.
    pub(super) name: String,
    /// One line about it.
    pub(super) title: String,
    /// A name to be found in `PATH`, or a path.
    pub(super) program: String,
    /// How to get it, a command or a sentence.
    pub(super) install: String,
    /// Environment variables to set.
    pub(super) env: BTreeMap<String, String>,
    /// How its version is asked.
    pub(super) version: VersionText,
    /// The program whose record of known deviations holds for it, if that is not its own name.
    pub(super) known: Option<String>,
}

impl Common {
    /// The name of its record of known deviations.
    pub(super) fn record(&self) -> &str {
        self.known.as_deref().unwrap_or(&self.name)
    }
}

/// One configuration, complete.
#[derive(Debug, Clone)]
pub(super) struct Configuration {
    /// The name of the export under test.
    pub(super) export: String,
    /// The file `{image}`, if it needs one.
    pub(super) image: Option<ImageText>,
    /// What `{size}` stands for: the image's size, if there is one.
    pub(super) size: Option<String>,
    /// Further files.
    pub(super) files: Vec<FileText>,
    /// Commands to run first.
    pub(super) prepare: Vec<Vec<String>>,
    /// What `{args}` stands for.
    pub(super) args: Vec<String>,
    /// What the peer does otherwise than the configuration's name says.
    pub(super) note: Option<String>,
}

/// What a server's file says, checked.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) common: Common,
    /// What `--peer` or `--server` was given to name it.
    pub(super) origin: String,
    /// The user's own command, if that is what there is instead of a file.
    pub(super) command: Option<CommandLine>,
    pub(super) start: StartText,
    pub(super) listen: BTreeMap<Transport, Vec<String>>,
    pub(super) listen_tls: BTreeMap<Transport, Vec<String>>,
    pub(super) tls: BTreeMap<TlsKind, Vec<String>>,
    pub(super) configurations: BTreeMap<String, Configuration>,
    pub(super) cannot: BTreeMap<String, String>,
}

/// What a client's file says, checked.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) common: Common,
    /// What `--client` was given to name it.
    pub(super) origin: String,
    pub(super) actions: BTreeMap<String, Vec<String>>,
    pub(super) tls: BTreeMap<ClientTls, BTreeMap<String, Vec<String>>>,
    pub(super) since: BTreeMap<String, String>,
    pub(super) cannot: BTreeMap<String, String>,
}

/// Where the text of a peer file is from.
pub(super) struct Text {
    /// As shown in messages.
    shown: String,
    /// As given on the command line: a name or a path.
    origin: String,
    text: String,
    /// What a relative program path is relative to.
    dir: Option<PathBuf>,
}

impl Text {
    /// A shipped file by its name, or the file at a path (something with a `/` or `.toml`).
    pub(super) fn find(wanted: &str, kind: &str) -> Result<Self, PeerError> {
        if wanted.contains('/') || wanted.ends_with(".toml") {
            Self::load(Path::new(wanted))
        } else {
            Self::shipped(wanted, kind)
        }
    }

    pub(super) fn shipped(name: &str, kind: &str) -> Result<Self, PeerError> {
        let file = SHIPPED.get_file(format!("{name}.toml")).and_then(|file| file.contents_utf8());
        let Some(text) = file else {
            let known = shipped_names(kind);
            let hint = did_you_mean(name, known.iter().map(String::as_str))
                .unwrap_or_else(|| format!("shipped are {}; a path has a `/` in it", list(&known)));
            return Err(PeerError::Unknown { name: name.to_owned(), hint });
        };
        let (shown, origin) = (format!("peers/{name}.toml"), name.to_owned());
        Ok(Self { shown, origin, text: text.to_owned(), dir: None })
    }

    pub(super) fn load(path: &Path) -> Result<Self, PeerError> {
        let shown = path.display().to_string();
        let unreadable = |reason: String| PeerError::Unreadable { path: shown.clone(), reason };
        let length = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
        if length > FILE_LIMIT {
            return Err(unreadable(format!("{length} bytes are too many for a peer file")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        let dir = std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_owned));
        let origin = shown.clone();
        Ok(Self { shown, origin, text, dir })
    }

    fn error(&self, reason: impl Into<String>) -> PeerError {
        PeerError::Invalid { path: self.shown.clone(), reason: reason.into() }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, PeerError> {
        toml::from_str(&self.text).map_err(|error| {
            let hint = key_hint(error.message()).map(|hint| format!("\nhint: {hint}"));
            self.error(format!("{}{}", error.to_string().trim_end(), hint.unwrap_or_default()))
        })
    }

    fn check_format(&self, format: u32) -> Result<(), PeerError> {
        if format == FORMAT {
            return Ok(());
        }
        Err(self.error(format!("`format = {format}` is not known here, only `format = {FORMAT}`")))
    }

    fn check<'a>(
        &self,
        place: &str,
        templates: impl IntoIterator<Item = &'a String>,
        known: &[&str],
    ) -> Result<(), PeerError> {
        for template in templates {
            template::check(template, known).map_err(|e| self.error(format!("{place}: {e}")))?;
        }
        Ok(())
    }

    fn common(&self, mut common: Common) -> Result<Common, PeerError> {
        if common.version.pattern.matches("{version}").count() != 1 {
            return Err(self.error("`version.pattern` needs one `{version}`"));
        }
        if let Some(known) = &common.known
            && SHIPPED.get_file(format!("{known}.toml")).is_none()
        {
            let text = format!("`known`: there is no record of `{known}`");
            return Err(self.error(text));
        }
        let relative = common.program.contains('/') && !common.program.starts_with('/');
        if let Some(dir) = self.dir.as_ref().filter(|_| relative) {
            common.program = dir.join(&common.program).display().to_string();
        }
        Ok(common)
    }

    pub(super) fn server(&self) -> Result<Server, PeerError> {
        let text: ServerText = self.parse()?;
        self.check_format(text.format)?;
        let common = self.common(Common {
            name: text.name,
            title: text.title,
            program: text.program,
            install: text.install,
            env: text.env,
            version: text.version,
            known: text.known,
        })?;
        let words = &SERVER_WORDS[..];
        let all: Vec<&str> = words.iter().chain(&SERVER_LISTS).copied().collect();
        self.check("`start.args`", &text.start.args, &all)?;
        self.check_files("`start.files`", &text.start.files, &all)?;
        if text.listen.is_empty() {
            return Err(self.error("`[listen]` needs `tcp` or `unix`"));
        }
        for (transport, args) in &text.listen {
            self.check(&format!("`listen.{}`", transport.name()), args, words)?;
        }
        for (transport, args) in &text.listen_tls {
            self.check(&format!("`listen-tls.{}`", transport.name()), args, words)?;
        }
        for (kind, args) in &text.tls {
            self.check(&format!("`tls.{}`", kind.name()), args, words)?;
        }
        let mut configurations = BTreeMap::new();
        for name in text.configuration.keys() {
            let place = format!("`configuration.{name}`");
            let one = resolve(name, &text.configuration)
                .map_err(|e| self.error(format!("{place}: {e}")))?;
            self.check(&place, &one.args, words)?;
            self.check(&place, one.prepare.iter().flatten(), words)?;
            self.check_files(&place, &one.files, words)?;
            self.check_image(&place, one.image.as_ref())?;
            if one.prepare.iter().any(Vec::is_empty) {
                return Err(self.error(format!("{place}: a command of `prepare` is empty")));
            }
            if text.cannot.contains_key(name) {
                return Err(self.error(format!("{place}: `[cannot]` says that it can't be given")));
            }
            configurations.insert(name.clone(), one);
        }
        Ok(Server {
            common,
            origin: self.origin.clone(),
            command: None,
            start: text.start,
            listen: text.listen,
            listen_tls: text.listen_tls,
            tls: text.tls,
            configurations,
            cannot: text.cannot,
        })
    }

    fn check_files(
        &self,
        place: &str,
        files: &[FileText],
        known: &[&str],
    ) -> Result<(), PeerError> {
        for file in files {
            let path = &file.path;
            let inside = Path::new(path)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            if !inside || path.is_empty() {
                let text = format!("{place}: the path `{path}` must lie below `{{dir}}`");
                return Err(self.error(format!("{text}\nhint: write only what comes after it")));
            }
            if file.text.is_some() == file.image.is_some() {
                let text = format!("{place}: the file `{path}` needs either `text` or `image`");
                return Err(self.error(text));
            }
            for line in file.text.iter().flat_map(|text| text.lines()) {
                self.check(place, [&line.to_owned()], known)?;
            }
            self.check_image(place, file.image.as_ref())?;
        }
        Ok(())
    }

    fn check_image(&self, place: &str, image: Option<&ImageText>) -> Result<(), PeerError> {
        match image {
            Some(image) if image.size != "{value}" && units::size(&image.size).is_err() => {
                let text = format!("{place}: `{}` is not a size", image.size);
                Err(self.error(format!("{text}\nhint: a size is like `16MiB`, `511`, `{{value}}`")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn client(&self) -> Result<Client, PeerError> {
        let text: ClientText = self.parse()?;
        self.check_format(text.format)?;
        let common = self.common(Common {
            name: text.name,
            title: text.title,
            program: text.program,
            install: text.install,
            env: text.env,
            version: text.version,
            known: text.known,
        })?;
        for (action, args) in &text.actions {
            self.check(&format!("`actions.{action}`"), args, &CLIENT_WORDS)?;
            if text.cannot.contains_key(action) {
                let text = format!("`actions.{action}`: `[cannot]` says that it can't be done");
                return Err(self.error(text));
            }
        }
        for (action, args) in text.tls.values().flatten() {
            self.check(&format!("`tls`: `{action}`"), args, &CLIENT_WORDS)?;
        }
        for (what, version) in &text.since {
            if what != "status" && !text.actions.contains_key(what) {
                return Err(self.error(format!("`since.{what}` is neither an action nor `status`")));
            }
            if release(version).is_none() {
                let text = format!("`since.{what}`: `{version}` is not a version such as `4.2`");
                return Err(self.error(text));
            }
        }
        let (tls, since, cannot) = (text.tls, text.since, text.cannot);
        let origin = self.origin.clone();
        Ok(Client { common, origin, actions: text.actions, tls, since, cannot })
    }
}

impl Server {
    /// The configurations that the file describes, in alphabetical order; one that ends in `-*`
    /// stands for many.
    pub(super) fn configuration_names(&self) -> impl Iterator<Item = &str> {
        self.configurations.keys().map(String::as_str)
    }

    /// A configuration, and what the `*` of its name stands for: `size-1000001` is `size-*`.
    pub(super) fn configuration(&self, wanted: &str) -> Option<(&Configuration, Option<u64>)> {
        if let Some(found) = self.configurations.get(wanted) {
            return Some((found, None));
        }
        let (family, value) = wanted.rsplit_once('-')?;
        let found = self.configurations.get(&format!("{family}-*"))?;
        Some((found, Some(units::size(value).ok()?)))
    }

    /// Why a configuration can't be given, in the file's words or ours.
    pub(super) fn reason(&self, wanted: &str) -> String {
        let family = wanted.rsplit_once('-').map(|(family, _)| format!("{family}-*"));
        let family = family.and_then(|family| self.cannot.get(&family));
        match self.cannot.get(wanted).or(family) {
            Some(reason) => reason.clone(),
            None if self.command.is_some() => format!(
                "no placeholder of a command makes the server so (`{wanted}`): a peer file can"
            ),
            None => format!("{} is not described as `{wanted}`", self.common.name),
        }
    }
}

/// Follows `like`: what a configuration does not say itself, the other one says.
fn resolve(name: &str, all: &BTreeMap<String, ConfigurationText>) -> Result<Configuration, String> {
    let mut sum = ConfigurationText::default();
    let mut next = Some(name);
    let mut steps = 0;
    while let Some(name) = next {
        steps += 1;
        if steps > LIKE_LIMIT {
            return Err("`like` goes in a circle".to_owned());
        }
        let one = all.get(name).ok_or_else(|| {
            let hint = did_you_mean(name, all.keys().map(String::as_str));
            let hint = hint.map(|hint| format!("\nhint: {hint}"));
            format!(
                "`like` names a configuration that does not exist: `{name}`{}",
                hint.unwrap_or_default()
            )
        })?;
        sum.export = sum.export.or_else(|| one.export.clone());
        sum.image = sum.image.or_else(|| one.image.clone());
        sum.files = sum.files.or_else(|| one.files.clone());
        sum.prepare = sum.prepare.or_else(|| one.prepare.clone());
        sum.args = sum.args.or_else(|| one.args.clone());
        sum.note = sum.note.or_else(|| one.note.clone());
        next = one.like.as_deref();
    }
    Ok(Configuration {
        export: sum.export.unwrap_or_default(),
        size: sum.image.as_ref().map(|image| image.size.clone()),
        image: sum.image,
        files: sum.files.unwrap_or_default(),
        prepare: sum.prepare.unwrap_or_default(),
        args: sum.args.unwrap_or_default(),
        note: sum.note,
    })
}

/// The names of the shipped files of a kind, `server` or `client`, in alphabetical order.
pub(super) fn shipped_names(kind: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Head {
        kind: String,
        name: String,
    }
    let mut names: Vec<String> = SHIPPED
        .files()
        .filter_map(|file| toml::from_str::<Head>(file.contents_utf8()?).ok())
        .filter(|head| head.kind == kind)
        .map(|head| head.name)
        .collect();
    names.sort();
    names
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A hint for an unknown key, from the parser's message: ``unknown field `a`, expected one of `b`,
/// `c` ``.
fn key_hint(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wanted = quoted.next()?;
    if message.starts_with("unknown") { did_you_mean(wanted, quoted) } else { None }
}
