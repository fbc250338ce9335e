use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::super::file::read;
use super::super::tests::{Owned, SERVER, START, packets, session};
use super::super::{Options, Record, Sink};
use super::*;
use crate::capture::{CaptureWriter, Input, Packet};
use crate::render::{JsonRenderer, Only, Renderer, SummaryRenderer};

/// Decodes a file with so many lanes; all in one thread for 0.
fn decode<S: Sink>(path: &Path, lanes: usize, sink: &mut S) -> u64 {
    let file = Input::map_from(File::open(path).unwrap(), 0).unwrap();
    let mut options = Options::default();
    if let Ok(log) = fs::read(path.with_extension("keylog")) {
        options.keys.add(&log);
    }
    let mut capture = CaptureReader::new(file).unwrap();
    assert!(capture.mapping().is_some());
    read(&mut capture, options, lanes, sink).unwrap()
}

fn json(path: &Path, lanes: usize, session: Option<u64>) -> (u64, String) {
    let mut renderer = JsonRenderer::new(Vec::new());
    let sessions = decode(path, lanes, &mut Only::new(&mut renderer, session));
    renderer.finish().unwrap();
    (sessions, String::from_utf8(renderer.into_inner()).unwrap())
}

fn summary(path: &Path, lanes: usize) -> String {
    let mut renderer = SummaryRenderer::new(Vec::new());
    decode(path, lanes, &mut renderer);
    renderer.finish().unwrap();
    String::from_utf8(renderer.into_inner()).unwrap()
}

/// A file that removes itself.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Many sessions at once, of which some never end, some never begin, and some come in fragments.
fn crowd(name: &str) -> Temporary {
    let mut connections: Vec<Vec<Owned>> = (0..40)
        .map(|number: u16| {
            let client = format!("127.0.0.{}:{}", 1 + number % 3, 40_000 + number);
            let start = START + u64::from(number % 7) * 500_000;
            let mut connection = packets(&client, SERVER, start, &session());
            match number % 5 {
                1 => connection.truncate(12),
                2 => connection.truncate(2), // the server accepts, and stays silent
                3 => {
                    connection.swap(5, 9);
                    connection.remove(7);
                }
                _ => {}
            }
            connection.reverse();
            connection
        })
        .collect();
    let file = Temporary(
        std::env::temp_dir().join(format!("nbdcheck-{name}-{}.pcapng", std::process::id())),
    );
    let mut writer = CaptureWriter::new(File::create(&file.0).unwrap()).unwrap();
    let mut round = 0;
    while connections.iter().any(|connection| !connection.is_empty()) {
        for (index, connection) in connections.iter_mut().enumerate() {
            round += 1;
            if (index + round) % 3 > 0
                && let Some((time_ns, link, data)) = connection.pop()
            {
                let original_length = data.len() as u32;
                let packet = Packet { time_ns, link, data: &data, original_length };
                writer.captured(&packet).unwrap();
            }
        }
    }
    file
}

#[test]
fn lanes_tell_what_one_thread_tells() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let mut count = 0;
    for folder in ["qemu", "recorded", "tls", "made"] {
        for entry in fs::read_dir(golden.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "snap" || extension == "keylog")
            {
                continue;
            }
            let alone = json(&path, 0, None);
            for lanes in [1, 2, 5] {
                assert!(json(&path, lanes, None) == alone, "{}: {lanes} lanes", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 40);
}

#[test]
fn many_sessions_come_in_the_order_of_their_packets() {
    let file = crowd("order");
    let alone = json(&file.0, 0, None);
    assert_eq!(alone.0, 40);
    let short = summary(&file.0, 0);
    let third = json(&file.0, 0, Some(3));
    for lanes in [1, 2, 3, 8] {
        assert!(json(&file.0, lanes, None) == alone, "{lanes} lanes");
        assert_eq!(summary(&file.0, lanes), short, "{lanes} lanes");
        assert_eq!(json(&file.0, lanes, Some(3)).1, third.1, "{lanes} lanes");
    }
}

/// Has enough after so many records.
struct Enough(usize);

impl Sink for Enough {
    fn record(&mut self, _: Record<'_>) {
        self.0 = self.0.saturating_sub(1);
    }

    fn is_done(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn nobody_waits_for_a_sink_that_has_enough() {
    let file = crowd("enough");
    for records in (0..60).chain([200, 400]) {
        decode(&file.0, 3, &mut Enough(records));
    }
}
