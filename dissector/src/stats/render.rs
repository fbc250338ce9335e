//! Statistics as text and JSON.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::{CommandStats, SessionStats, Timeline};
use crate::dissect::{SessionInfo, Totals};
use crate::render::{Plural, Stretch};

/// How wide a bar may be, in characters.
const BAR: u64 = 40;
/// How wide a time line may be, in characters.
const LINE: usize = 64;

/// A size for people: `1.5 MiB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.0 >> (10 * (unit + 1)) > 0 {
            unit += 1;
        }
        let (whole, rest) = (self.0 >> (10 * unit), self.0 & ((1 << (10 * unit)) - 1));
        let tenth = (u128::from(rest) * 10) >> (10 * unit);
        let name = UNITS.get(unit).unwrap_or(&"");
        let text = if whole >= 100 || unit == 0 {
            format!("{whole} {name}")
        } else {
            format!("{whole}.{tenth} {name}")
        };
        f.pad(&text)
    }
}

fn percent(part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(of.max(1))).unwrap_or(100)
}

pub(super) fn text(
    out: &mut impl Write,
    info: &SessionInfo,
    totals: &Totals,
    stats: &SessionStats,
) -> io::Result<()> {
    let lasted = totals.end_ns.saturating_sub(totals.start_ns);
    let SessionInfo { number, client, server, .. } = info;
    let bytes = totals.bytes.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
    writeln!(out, "session {number}: {client} -> {server}, {}, {}", Stretch(lasted), Size(bytes))?;
    if totals.retransmitted > 0 {
        writeln!(out, "  retransmitted: {}", Plural(totals.retransmitted, "packet"))?;
    }
    if totals.copies > 0 {
        writeln!(out, "  captured twice: {}", Plural(totals.copies, "packet"))?;
    }
    if stats.commands.is_empty() {
        return writeln!(out, "  no requests");
    }
    writeln!(
        out,
        "  {:<24} {:>8} {:>10} {:>7} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "command", "count", "bytes", "errors", "seq", "p50", "p90", "p99", "max"
    )?;
    for (command, stats) in &stats.commands {
        let CommandStats { count, bytes, errors, sequential, answered, .. } = stats;
        let at = |quantile: f64| match answered {
            0 => "-".to_owned(),
            _ => Stretch(stats.percentile(quantile)).to_string(),
        };
        writeln!(
            out,
            "  {:<24} {count:>8} {:>10} {errors:>7} {:>5}% {:>9} {:>9} {:>9} {:>9}",
            command.to_string(),
            Size(*bytes),
            percent(*sequential, count.saturating_sub(1)),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
        )?;
    }
    if stats.left_out > 0 {
        writeln!(out, "  {:<24} {:>8}", "(other commands)", stats.left_out)?;
    }
    for (command, stats) in &stats.commands {
        if stats.answered > 1 {
            writeln!(out, "\n  latency of {command}")?;
            histogram(out, stats)?;
        }
    }
    writeln!(out, "\n  in flight, at most {}", stats.depth.most())?;
    depth(out, &stats.depth)?;
    if !stats.slowest.is_empty() {
        writeln!(out, "\n  slowest")?;
        for slow in &stats.slowest {
            let latency = Stretch(slow.latency_ns).to_string();
            writeln!(out, "  {latency:>11}  message {}: {}", slow.message, slow.text)?;
        }
    }
    Ok(())
}

/// A bar for each power of 2.
fn histogram(out: &mut impl Write, stats: &CommandStats) -> io::Result<()> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for value in stats.latency.iter_recorded() {
        let upper = (value.value_iterated_to() + 1).next_power_of_two();
        match buckets.last_mut() {
            Some((last, count)) if *last == upper => *count += value.count_at_value(),
            _ => buckets.push((upper, value.count_at_value())),
        }
    }
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    for (upper, count) in buckets {
        let width = (count * BAR).div_ceil(most);
        let bar = "█".repeat(usize::try_from(width).unwrap_or(0));
        writeln!(out, "  {:>11}  {bar} {count}", format!("< {}", Stretch(upper)))?;
    }
    Ok(())
}

fn depth(out: &mut impl Write, line: &Timeline) -> io::Result<()> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let per = line.columns().len().div_ceil(LINE).max(1);
    let most = u64::from(line.most().max(1));
    let bars: String = line
        .columns()
        .chunks(per)
        .map(|columns| u64::from(columns.iter().copied().max().unwrap_or(0)))
        .map(|depth| match depth {
            0 => ' ',
            depth => {
                let eighths = usize::try_from((depth * 8).div_ceil(most)).unwrap_or(8);
                *BLOCKS.get(eighths - 1).unwrap_or(&'█')
            }
        })
        .collect();
    writeln!(out, "  {bars}| {} a column", Stretch(line.width_ns().saturating_mul(per as u64)))
}

#[derive(Serialize)]
struct Json<'a> {
    r#type: &'static str,
    session: u64,
    client: String,
    server: String,
    duration_ns: u64,
    /// Of the client and of the server.
    bytes: [u64; 2],
    /// Packets.
    retransmitted: u64,
    copies: u64,
    commands: Vec<JsonCommand>,
    depth: JsonDepth<'a>,
    slowest: Vec<JsonSlow<'a>>,
    /// Requests of commands that are not among `commands`, of which there are too many.
    left_out: u64,
}

#[derive(Serialize)]
struct JsonCommand {
    name: String,
    count: u64,
    bytes: u64,
    errors: u64,
    answered: u64,
    sequential: u64,
    latency_ns: JsonLatency,
}

#[derive(Serialize)]
struct JsonLatency {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

#[derive(Serialize)]
struct JsonDepth<'a> {
    most: u32,
    column_ns: u64,
    columns: &'a [u32],
}

#[derive(Serialize)]
struct JsonSlow<'a> {
    message: u64,
    latency_ns: u64,
    text: &'a str,
}

pub(super) fn json(
    out: &mut impl Write,
    info: &SessionInfo,
    totals: &Totals,
    stats: &SessionStats,
) -> io::Result<()> {
    let commands = stats.commands.iter().map(|(command, stats)| {
        let at = |quantile: f64| match stats.answered {
            0 => 0,
            _ => stats.percentile(quantile),
        };
        JsonCommand {
            name: command.to_string(),
            count: stats.count,
            bytes: stats.bytes,
            errors: stats.errors,
            answered: stats.answered,
            sequential: stats.sequential,
            latency_ns: JsonLatency { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) },
        }
    });
    let slowest = stats.slowest.iter().map(|slow| JsonSlow {
        message: slow.message,
        latency_ns: slow.latency_ns,
        text: &slow.text,
    });
    let json = Json {
        r#type: "stats",
        session: info.number,
        client: info.client.to_string(),
        server: info.server.to_string(),
        duration_ns: totals.end_ns.saturating_sub(totals.start_ns),
        bytes: *totals.bytes.as_array(),
        retransmitted: totals.retransmitted,
        copies: totals.copies,
        commands: commands.collect(),
        depth: JsonDepth {
            most: stats.depth.most(),
            column_ns: stats.depth.width_ns(),
            columns: stats.depth.columns(),
        },
        slowest: slowest.collect(),
        left_out: stats.left_out,
    };
    serde_json::to_writer(&mut *out, &json)?;
    writeln!(out)
}
