//! The whole suite against lawful servers of many shapes: nothing is wrong with them, so nothing may
//! be found, but for what the lists beside this file record of a shape.
//!
//! A list has one shape a line: its name, then the command. Lines that are indented are about the
//! shape above:
//!
//! - `SCENARIO REQUIREMENT [sometimes]  # why it is true`, where `*` stands for any scenario, and
//!   `sometimes` for a race inside the server;
//! - `only SCENARIO...` for a shape that a part of the suite is enough for;
//! - `first COMMAND...` is run before the server is started, to make what it serves;
//! - `versions PATTERN` names the versions of the program that can be shaped so.
//!
//! A line `recorded PROGRAM PATTERN` says of which versions of a program the list is a record. Others are
//! played, and what is found is told, without failing unless `NBDCHECK_REQUIRE_RECORDS` is set. What
//! `harness/known` records of a program holds for its shapes too.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::peer::PeerFile;
use harness::run::deviations::Deviations;
use harness::run::versions::Versions;
use reference_server::tls::generated::Made;

/// How long a server may take to listen.
const READY: Duration = Duration::from_secs(20);

/// One line of a list.
#[derive(Debug, Default)]
struct Shape {
    name: String,
    command: Vec<String>,
    deviations: Vec<Recorded>,
    only: Vec<String>,
    first: Vec<Vec<String>>,
    versions: Option<Versions>,
}

/// A deviation of a shape.
#[derive(Debug)]
struct Recorded {
    /// Or `*` for any.
    scenario: String,
    requirement: String,
    /// It need not show.
    sometimes: bool,
}

impl Recorded {
    fn is_about(&self, scenario: &str, requirement: &str) -> bool {
        (self.scenario == "*" || self.scenario == scenario) && self.requirement == requirement
    }
}

/// A list.
#[derive(Debug, Default)]
struct List {
    shapes: Vec<Shape>,
    /// The versions of programs that were looked at.
    recorded: BTreeMap<String, Versions>,
}

/// What is known of a program.
#[derive(Debug)]
struct Known {
    version: String,
    record: Deviations,
    /// Whether what is found besides is wrong: nobody has looked at other versions yet.
    counts: bool,
}

impl Known {
    /// What is known of the version that is installed; `None` of a program that is no peer.
    fn of(program: &str, recorded: Option<&Versions>) -> Option<Self> {
        let file = PeerFile::builtin(program).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let version = runtime.block_on(file.version()).unwrap();
        let counts = recorded.is_some_and(|versions| versions.has(&version))
            || std::env::var_os("NBDCHECK_REQUIRE_RECORDS").is_some();
        Some(Self { record: Deviations::shipped(program, Some(&version)), version, counts })
    }
}

/// The words of a line up to a comment; `'several words'` are one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut quoted = false;
    for next in line.chars() {
        match next {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            ' ' if !quoted => words.extend(word.take()),
            next => word.get_or_insert_with(String::new).push(next),
        }
    }
    assert!(!quoted, "`{line}` lacks a quote");
    words.extend(word);
    words
}

/// Reads a list.
fn shapes(text: &str) -> List {
    let mut shapes: Vec<Shape> = Vec::new();
    let mut recorded = BTreeMap::new();
    for line in text.lines() {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (words.as_slice(), shapes.last_mut()) {
            ([], _) => {}
            (["only", scenarios @ ..], Some(shape)) if line.starts_with(' ') => {
                shape.only.extend(scenarios.iter().map(ToString::to_string));
            }
            (["first", command @ ..], Some(shape)) if line.starts_with(' ') => {
                shape.first.push(command.iter().map(ToString::to_string).collect());
            }
            (["versions", pattern @ ..], Some(shape)) if line.starts_with(' ') => {
                shape.versions = Some(pattern.join(" ").parse().unwrap());
            }
            ([scenario, requirement, rest @ ..], Some(shape))
                if line.starts_with(' ') && matches!(rest, [] | ["sometimes"]) =>
            {
                assert!(protocol::requirements::find(requirement).is_some(), "{requirement}");
                shape.deviations.push(Recorded {
                    scenario: scenario.to_string(),
                    requirement: requirement.to_string(),
                    sometimes: !rest.is_empty(),
                });
            }
            (["recorded", program, pattern @ ..], _) if !line.starts_with(' ') => {
                recorded.insert(program.to_string(), pattern.join(" ").parse().unwrap());
            }
            ([name, command @ ..], _) if !line.starts_with(' ') => shapes.push(Shape {
                name: name.to_string(),
                command: command.iter().map(ToString::to_string).collect(),
                ..Shape::default()
            }),
            _ => panic!("`{line}` is neither a shape nor about one"),
        }
    }
    let names: BTreeSet<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
    assert_eq!(names.len(), shapes.len(), "each shape has a name of its own");
    List { shapes, recorded }
}

/// A running server; dropping it ends it.
struct Serving {
    child: Child,
    target: String,
    _folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Starts the server of a shape. `{socket}` is where it is to listen, `{folder}` a folder of its
    /// own with `image`, 16 MiB long, in it; a server without a socket prints its URI.
    fn start(shape: &Shape, program: &str, tls: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let fill = |word: &String| {
            word.replace("{socket}", &socket.display().to_string())
                .replace("{tests}", concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
                .replace("{folder}", &folder.path().display().to_string())
                .replace("{tls}", &tls.display().to_string())
        };
        for command in &shape.first {
            let mut words = command.iter().map(fill);
            let mut command = Command::new(words.next().unwrap());
            let output = command.args(words).current_dir(folder.path()).output();
            let output = output.map_err(|error| format!("{command:?}: {error}"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{command:?}: {said}"));
            }
        }
        let mut words = shape.command.iter().map(fill);
        let mut command = match program {
            "" => Command::new(words.next().unwrap()),
            program => Command::new(program),
        };
        if !program.is_empty() {
            command.args(["serve", "--bind", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(words)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        let target = if program.is_empty() {
            let since = Instant::now();
            while std::os::unix::net::UnixStream::connect(&socket).is_err() {
                if let Some(status) = child.try_wait().unwrap() {
                    return Err(format!("it ends at its start: {status}"));
                }
                if since.elapsed() > READY {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err("it does not listen".to_owned());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            format!("nbd+unix:///?socket={}", socket.display())
        } else {
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.next().unwrap_or_else(|| panic!("{} prints no URI", shape.name)).unwrap()
        };
        Ok(Self { child, target, _folder: folder })
    }

    /// How the server ended, if it did so by itself.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().unwrap()?;
        Some(format!("the server ended while it was tested: {status}"))
    }
}

/// What was found against a shape that no record has, and how many scenarios ran.
fn play(shape: &Shape, serving: &Serving, tls: &Path, known: Option<&Known>) -> (Vec<String>, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
    command.args(["run", "--allow-write", "--report", "json=-", "--target", &serving.target]);
    if serving.target.starts_with("nbds") || shape.command.iter().any(|word| word.contains("{tls}"))
    {
        command.arg("--tls-ca").arg(tls.join("ca-cert.pem"));
    }
    for scenario in &shape.only {
        command.args(["--scenario", scenario]);
    }
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}: {text}", shape.name));
    let mut shown = vec![false; shape.deviations.len()];
    let mut is_known = |id: &str, requirement: &str| {
        let mut recorded = false;
        for (deviation, shown) in shape.deviations.iter().zip(&mut shown) {
            if deviation.is_about(id, requirement) {
                (recorded, *shown) = (true, true);
            }
        }
        recorded || known.is_some_and(|known| known.record.has(id, requirement))
    };
    let mut found = Vec::new();
    let mut ran = 0;
    if let Some(problem) = json["problem"].as_str() {
        found.push(problem.to_owned());
    }
    for scenario in json["scenarios"].as_array().unwrap() {
        let (id, verdict) =
            (scenario["id"].as_str().unwrap(), scenario["verdict"].as_str().unwrap());
        ran += u64::from(verdict != "skip");
        if verdict == "error" {
            found.push(format!("error {id}: {}", scenario["reason"]));
        }
        for finding in scenario["findings"].as_array().unwrap() {
            let requirement = finding["requirement"].as_str().unwrap();
            if finding["level"] != "MAY" && !is_known(id, requirement) {
                found.push(format!("{verdict} {id} {requirement}: {}", finding["message"]));
            }
        }
    }
    for (deviation, shown) in shape.deviations.iter().zip(shown) {
        if !shown && !deviation.sometimes {
            let Recorded { scenario, requirement, .. } = deviation;
            found.push(format!("{scenario} {requirement} no longer shows: the line can go"));
        }
    }
    (found, ran)
}

/// The programs that shapes name, with what is known of them; those that are missing are left out.
fn programs(list: &List) -> BTreeMap<&str, Option<Known>> {
    let names: BTreeSet<&str> = list.shapes.iter().map(|shape| shape.command[0].as_str()).collect();
    let here = names.into_iter().filter(|name| needed::here(&[name]));
    here.map(|name| (name, Known::of(name, list.recorded.get(name)))).collect()
}

/// Plays all shapes of a list, some at once; `program` is the one that all of them are arguments of,
/// or else each names its own.
fn play_all(list: &str, program: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(list);
    let list = shapes(&std::fs::read_to_string(path).unwrap());
    let wanted = std::env::var("SHAPES").unwrap_or_default();
    let programs = if program.is_empty() { programs(&list) } else { BTreeMap::new() };
    let tls = tempfile::tempdir().unwrap();
    Made::make(tls.path()).unwrap();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(shape) = list.shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = &shape.name;
            if !name.contains(&wanted) {
                continue;
            }
            let known = programs.get(shape.command[0].as_str());
            if program.is_empty() && known.is_none() {
                continue;
            }
            let known = known.and_then(Option::as_ref);
            if let (Some(known), Some(versions)) = (known, &shape.versions)
                && !versions.has(&known.version)
            {
                println!("{name}: {} {} can't be so", shape.command[0], known.version);
                continue;
            }
            let since = Instant::now();
            let (mut found, ran) = match Serving::start(shape, program, tls.path()) {
                Ok(mut serving) => {
                    let (mut found, ran) = play(shape, &serving, tls.path(), known);
                    found.extend(serving.ended());
                    (found, ran)
                }
                Err(why) => (vec![why], 0),
            };
            println!("{name}: {ran} ran in {:.1} s", since.elapsed().as_secs_f64());
            if ran == 0 {
                found.push("nothing ran".to_owned());
            }
            let found = found.iter().map(|line| format!("{name}: {line}"));
            if known.is_none_or(|known| known.counts) {
                wrong.lock().unwrap().extend(found);
            } else {
                found.for_each(|line| println!("no record of this version: {line}"));
            }
        }
    };
    std::thread::scope(|scope| {
        // A run waits more than it computes.
        let threads = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of lawful servers:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_is_wrong_with_the_reference_server_in_any_lawful_shape() {
    play_all("shapes-self.txt", env!("CARGO_BIN_EXE_nbdcheck"));
}

#[test]
fn nothing_is_found_in_shapes_of_other_servers_but_what_is_known() {
    play_all("shapes-peers.txt", "");
}

#[test]
fn nothing_is_found_in_lawful_servers_with_odd_habits() {
    play_all("shapes-odd.txt", "");
}
