//! How fast captures are decoded, beside tshark and tcpdump, in one run.
//!
//! Makes captures, always the same: large reads and writes in packets as Ethernet has them and in
//! packets as a machine sees them that talks to itself, and requests of 4 KiB. Every program reads
//! the same file from the page cache. What counts is the time that passes, so the machine must have
//! nothing else to do; the processor time (user and system) of all threads is told beside it. `NBDCHECK` names the program to measure
//! (`make bench` sets it), `BENCH_LARGE_MIB` and `BENCH_SMALL_REQUESTS` the sizes, `BENCH_TSHARK=0`
//! leaves tshark out. With arguments `make ethernet|large|small FILE` only a capture is made; with `here
//! FILE` one is summarised in this process, for a profiler.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Instant;

use dissector::capture::{ConnectionWriter, Input};
use dissector::dissect::{Options, dissect};
use dissector::render::{Renderer as _, SummaryRenderer};
use dissector::session::Recognize;
use protocol::message::{
    Cookie, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, ReplyBody, Request,
    RequestForm, Side, SimpleReply,
};
use protocol::values::{
    ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, OptionType, ReplyType,
    TransmissionFlags,
};

/// Size of the large reads and writes, in bytes.
const LARGE: u32 = 1 << 20;
/// Size of the small ones.
const SMALL: u32 = 4096;
/// How many requests the client has in flight.
const DEPTH: u64 = 16;
/// tshark is given at most this much of a capture, in bytes of file. In less its start would count
/// for much, and make us look faster than we are.
const TSHARK_CUT: u64 = 1 << 30;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", kind, file] => {
            let load = loads().into_iter().find(|load| load.name == *kind);
            load.ok_or("make ethernet, large or small")?.make(Path::new(file), None)
        }
        ["here", file] => here(Path::new(file)),
        // What `cargo test --benches` runs: that it works, not how fast.
        _ if !env::args().any(|a| a == "--bench") => try_out(),
        _ => compare(),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn try_out() -> Result<()> {
    let folder = Folder::new()?;
    let file = folder.0.join("capture.pcapng");
    for load in loads() {
        load.make(&file, Some(10))?;
        here(&file)?;
    }
    Ok(())
}

/// What a capture is full of.
struct Load {
    name: &'static str,
    title: &'static str,
    /// How large requests are, in bytes.
    length: u32,
    count: u64,
    /// How much a packet carries at most, in bytes.
    segment: usize,
    /// How many times as fast as tshark a summary is to be.
    wanted: f64,
}

fn loads() -> [Load; 3] {
    let count = number("BENCH_LARGE_MIB", 1024);
    [
        Load {
            name: "ethernet",
            title: "requests of 1 MiB, packets of 1448 bytes",
            length: LARGE,
            count,
            segment: 1448,
            wanted: 60.0,
        },
        Load {
            name: "large",
            title: "requests of 1 MiB, packets of 64,000 bytes",
            length: LARGE,
            count,
            segment: 64_000,
            wanted: 60.0,
        },
        Load {
            name: "small",
            title: "requests of 4 KiB, a packet each",
            length: SMALL,
            count: number("BENCH_SMALL_REQUESTS", 1_000_000),
            segment: 64_000,
            wanted: 30.0,
        },
    ]
}

/// Summarises a file in this process.
fn here(file: &Path) -> Result<()> {
    let size = fs::metadata(file)?.len();
    let begin = Instant::now();
    let mut renderer = SummaryRenderer::new(io::stdout());
    let options = Options { recognize: Recognize::Nothing, ..Options::default() };
    dissect(Input::file(File::open(file)?)?, options, &mut renderer)?;
    renderer.finish()?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{seconds:.3} s, {:.0} MB/s", size as f64 / seconds / 1e6);
    Ok(())
}

impl Load {
    /// Writes a capture of a session with reads and writes by turns; of so many, or all.
    fn make(&self, file: &Path, count: Option<u64>) -> Result<()> {
        make(file, self.length, count.unwrap_or(self.count), self.segment)
    }
}

fn make(file: &Path, length: u32, count: u64, segment: usize) -> Result<()> {
    let client: SocketAddr = "127.0.0.1:51234".parse()?;
    let server: SocketAddr = "127.0.0.1:10809".parse()?;
    let out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let mut capture = ConnectionWriter::new(out, client, server)?.segment_size(segment);
    let mut time = 1_700_000_000_000_000_000;
    capture.opened(time)?;
    for (from, message) in handshake() {
        time += 50_000;
        capture.data(from, time, &message.to_bytes())?;
    }
    // Not compressible, as data of a real disk would not be all alike.
    let mut state = 1u64;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(length as usize)
    .collect();
    let size = 1u64 << 40;
    let mut bytes = Vec::new();
    let mut first = 0;
    while first < count {
        let batch = first..(first + DEPTH).min(count);
        first = batch.end;
        for (from, cookie) in batch.clone().map(|cookie| (Side::Client, cookie)).chain(
            // Replies come in another order than requests.
            batch.rev().map(|cookie| (Side::Server, cookie)),
        ) {
            let write = cookie % 2 == 1;
            bytes.clear();
            match from {
                Side::Client => {
                    let command = if write { Command::WRITE } else { Command::READ };
                    let offset = cookie * u64::from(length) % size;
                    bytes.extend(request(command, cookie, offset, length).to_bytes());
                }
                Side::Server => {
                    let reply = SimpleReply { error: ErrorCode::OK, cookie: Cookie(cookie) };
                    bytes.extend(Message::SimpleReply(reply).to_bytes());
                }
            }
            if write == (from == Side::Client) {
                bytes.extend_from_slice(&data);
            }
            time += 2_000;
            capture.data(from, time, &bytes)?;
        }
    }
    capture.data(Side::Client, time, &request(Command::DISC, count, 0, 0).to_bytes())?;
    capture.closed(Side::Client, time, false)?;
    capture.closed(Side::Server, time, false)?;
    capture.finish()?.flush()?;
    Ok(())
}

fn handshake() -> Vec<(Side, Message)> {
    let go = OptionType::GO;
    let flags = HandshakeFlags::FIXED_NEWSTYLE.with(HandshakeFlags::NO_ZEROES);
    let export = Info::Export { size: 1 << 40, flags: TransmissionFlags::HAS_FLAGS };
    let reply = |reply, body| Message::OptionReply(OptionReply { option: go, reply, body });
    vec![
        (Side::Server, Message::Greeting(Greeting::Newstyle { flags })),
        (Side::Client, Message::ClientFlags(ClientFlags(3))),
        (
            Side::Client,
            Message::Option(OptionRequest {
                option: go,
                body: OptionBody::Info { name: "disk".into(), requests: vec![] },
            }),
        ),
        (Side::Server, reply(ReplyType::INFO, ReplyBody::Info(export))),
        (Side::Server, reply(ReplyType::ACK, ReplyBody::Empty)),
    ]
}

fn request(command: Command, cookie: u64, offset: u64, length: u32) -> Message {
    Message::Request(Request {
        form: RequestForm::Compact,
        flags: CommandFlags::EMPTY,
        command,
        cookie: Cookie(cookie),
        offset,
        length: u64::from(length),
        status: None,
    })
}

/// A temporary folder that removes itself.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("nbdcheck-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run of a program took.
#[derive(Clone, Copy)]
struct Cost {
    /// That pass.
    seconds: f64,
    /// Of the processor.
    processor: f64,
    /// Peak memory in KiB.
    memory: u64,
    /// Bytes of the file.
    bytes: u64,
}

impl Cost {
    /// How many times as many bytes a second as the other one.
    fn against(self, other: Self) -> f64 {
        (self.bytes as f64 / self.seconds) / (other.bytes as f64 / other.seconds)
    }

    /// The same for a second of the processor.
    fn per_processor(self, other: Self) -> f64 {
        (self.bytes as f64 / self.processor) / (other.bytes as f64 / other.processor)
    }
}

/// Runs a program on a file, `repeat` times; the best time counts.
fn measure(name: &str, file: &Path, arguments: &[&str], repeat: u32) -> Result<Cost> {
    let bytes = fs::metadata(file)?.len();
    let mut best: Option<Cost> = None;
    for _ in 0..repeat {
        let begin = Instant::now();
        let output = Program::new("/usr/bin/time")
            .args(["-f", "%U %S %M"])
            .args(arguments)
            .stdout(Stdio::null())
            .output()?;
        let seconds = begin.elapsed().as_secs_f64();
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{arguments:?} failed: {errors}").into());
        }
        let told: Vec<_> = errors.lines().last().unwrap_or_default().split(' ').collect();
        let [user, system, memory] = told[..] else { return Err("time says nothing".into()) };
        // Its clock ticks hundredths.
        let processor = (user.parse::<f64>()? + system.parse::<f64>()?).max(0.01);
        let memory = memory.parse()?;
        let cost = Cost { seconds, processor, memory, bytes };
        best = Some(match best {
            Some(best) if best.seconds < seconds => best,
            _ => cost,
        });
    }
    let cost = best.ok_or("nothing was run")?;
    println!(
        "  {name:<24} {:>8.2} s (processor {:>6.2} s) {:>9.0} MB/s {:>8.1} MiB",
        cost.seconds,
        cost.processor,
        bytes as f64 / cost.seconds / 1e6,
        cost.memory as f64 / 1024.0
    );
    Ok(cost)
}

fn compare() -> Result<()> {
    let program = env::var("NBDCHECK").unwrap_or_else(|_| "nbdcheck".to_owned());
    let folder = Folder::new()?;
    for load in loads() {
        let Load { title, count, .. } = load;
        let file = folder.0.join("capture.pcapng");
        load.make(&file, None)?;
        let title = format!("{count} {title}");
        println!("{title}, a file of {} MiB", fs::metadata(&file)?.len() >> 20);
        let path = file.to_str().ok_or("the path is no text")?;
        let decode = |format| [&program, "decode", "--format", format, path];
        let tcpdump =
            measure("tcpdump -w /dev/null", &file, &["tcpdump", "-r", path, "-w", "/dev/null"], 3)?;
        let summary = measure("decode --format summary", &file, &decode("summary"), 3)?;
        let json = measure("decode --format json", &file, &decode("json"), 2)?;
        println!("  summary takes {:.2} times tcpdump's time", tcpdump.against(summary));
        println!("  summary's peak memory is {} MiB (wanted: under 64)", summary.memory >> 10);
        if number("BENCH_TSHARK", 1) > 0 {
            tshark(&folder, &load, (summary, json))?;
        }
    }
    Ok(())
}

/// Compares with tshark, on a shorter session of the same kind.
fn tshark(folder: &Folder, load: &Load, ours: (Cost, Cost)) -> Result<()> {
    let Load { length, count, wanted, .. } = *load;
    let file = folder.0.join("cut.pcapng");
    // Half of the data is in the file: a read has its data in the reply, a write in the request.
    let shorter = count.min(TSHARK_CUT / u64::from(length));
    load.make(&file, Some(shorter))?;
    let path = file.to_str().ok_or("the path is no text")?;
    println!("  tshark on the first {shorter} of the {count} requests:");
    let count = ["tshark", "-r", path, "-q", "-z", "io,stat,0"];
    let quiet = measure("tshark -q -z io,stat,0", &file, &count, 1)?;
    let fields = [
        "tshark",
        "-r",
        path,
        "-T",
        "fields",
        "-e",
        "nbd.type",
        "-e",
        "nbd.handle",
        "-e",
        "nbd.from",
        "-e",
        "nbd.len",
    ];
    let fields = measure("tshark -T fields", &file, &fields, 1)?;
    for (ours, what, theirs, other, wanted) in
        [(ours.0, "summary", quiet, "-q", wanted), (ours.1, "json", fields, "-T fields", 10.0)]
    {
        println!(
            "  {what} is {:.0} times as fast as tshark {other} (wanted: {wanted}); {:.0} by processor time",
            ours.against(theirs),
            ours.per_processor(theirs),
        );
    }
    Ok(())
}
