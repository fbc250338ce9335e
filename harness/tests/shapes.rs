//! The whole suite against lawful servers of many shapes: nothing is wrong with them, so nothing may
//! be found, but for what the lists beside this file record of a shape.
//!
//! A list has one shape a line: its name, then the command. Lines that are indented are about the
//! shape above: `SCENARIO REQUIREMENT  # why it is true`, where `*` stands for any scenario, or
//! `only SCENARIO...` for a shape that a part of the suite is enough for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reference_server::tls::made::Made;

/// How long a server may take to listen.
const READY: Duration = Duration::from_secs(20);

/// One line of a list.
#[derive(Debug, Default)]
struct Shape {
    name: String,
    command: Vec<String>,
    /// Scenario, or `*`, and requirement.
    deviations: Vec<(String, String)>,
    only: Vec<String>,
}

/// Reads a list.
fn shapes(text: &str) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap().trim_end();
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), shapes.last_mut()) {
            ([], _) => {}
            (["only", scenarios @ ..], Some(shape)) if line.starts_with(' ') => {
                shape.only.extend(scenarios.iter().map(ToString::to_string));
            }
            ([scenario, requirement], Some(shape)) if line.starts_with(' ') => {
                shape.deviations.push((scenario.to_string(), requirement.to_string()));
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
    shapes
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
    fn start(shape: &Shape, program: &str, tls: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let fill = |word: &String| {
            word.replace("{socket}", &socket.display().to_string())
                .replace("{folder}", &folder.path().display().to_string())
                .replace("{tls}", &tls.display().to_string())
        };
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
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{} ends with {ended:?}", shape.name);
                assert!(since.elapsed() < READY, "{} does not listen", shape.name);
                std::thread::sleep(Duration::from_millis(20));
            }
            format!("nbd+unix:///?socket={}", socket.display())
        } else {
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.next().unwrap_or_else(|| panic!("{} prints no URI", shape.name)).unwrap()
        };
        Self { child, target, _folder: folder }
    }
}

/// What was found against a shape that its record does not have, and how many scenarios ran.
fn play(shape: &Shape, serving: &Serving, tls: &Path) -> (Vec<String>, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
    command.args(["run", "--allow-write", "--report", "json=-", "--target", &serving.target]);
    if serving.target.starts_with("nbds") || shape.command.iter().any(|word| word == "--tls") {
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
    let known = |id: &str, requirement: &str| {
        shape
            .deviations
            .iter()
            .any(|(scenario, rule)| (scenario == "*" || scenario == id) && rule == requirement)
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
            if finding["level"] != "MAY" && !known(id, requirement) {
                found.push(format!("{verdict} {id} {requirement}: {}", finding["message"]));
            }
        }
    }
    (found, ran)
}

/// Plays all shapes of a list, as many at once as there are cores; `program` is the one that all of
/// them are arguments of, or else each names its own.
fn play_all(list: &str, program: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(list);
    let shapes = shapes(&std::fs::read_to_string(path).unwrap());
    let wanted = std::env::var("SHAPES").unwrap_or_default();
    let tls = tempfile::tempdir().unwrap();
    Made::make(tls.path()).unwrap();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(shape) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !shape.name.contains(&wanted) {
                continue;
            }
            let since = Instant::now();
            let serving = Serving::start(shape, program, tls.path());
            let (found, ran) = play(shape, &serving, tls.path());
            let name = &shape.name;
            println!("{name}: {ran} ran in {:.1} s", since.elapsed().as_secs_f64());
            if ran == 0 {
                wrong.lock().unwrap().push(format!("{name}: nothing ran"));
            }
            wrong.lock().unwrap().extend(found.iter().map(|line| format!("{name}: {line}")));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
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
