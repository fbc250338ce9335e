//! How what is decoded is shown: the options that `decode` and `capture` have in common.

use std::io::{self, BufWriter, IsTerminal as _, LineWriter, Write};

use dissector::dissect::{Options, Sink};
use dissector::filter::{Expression, Filter, fields};
use dissector::render::{
    JsonRenderer, Only, Renderer, SummaryRenderer, TextOptions, TextRenderer, TimeFormat,
    TreeRenderer,
};
use dissector::session::Recognize;
use dissector::stats::StatsRenderer;
use dissector::tls::KeyLog;

use crate::exit;

/// What to show, and in which form.
#[derive(Debug, clap::Args)]
pub(super) struct View {
    /// What to print: the notation, that with every field of the wire, where it is and its bytes, an object of JSON a line,
    /// or a summary of each session
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// TCP port of an NBD server, besides 10809
    #[arg(long, value_name = "N")]
    pub(super) port: Vec<u16>,

    /// Only the session with this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) session: Option<u64>,

    /// Only messages for which this is true, what was found about them, and of their sessions where
    /// these begin, open TLS and end: comparisons of fields, joined by `and`, `or` and `not (...)`,
    /// such as `name == NBD_CMD_READ and length >= 64KiB`, `error != ok`, `latency > 10ms`,
    /// `flags has FUA`, `session == 2 and from == client`; `--help` lists the fields
    #[arg(long, value_name = "EXPR", long_help = filter_help())]
    filter: Option<Expression>,

    /// How times are told in text: since the session began, as date and time of day in UTC, or
    /// since the message before
    #[arg(long, value_enum, default_value_t = Time::Relative)]
    time: Time,

    /// Tell in text how long after its request each reply was complete, and the first bytes of what
    /// prints as a digest
    #[arg(long, short)]
    verbose: bool,

    /// For each session and command: how many, bytes, errors, the share that is sequential, latency
    /// with a histogram; requests in flight over time, the slowest. With `--format json` an object a
    /// line. With `--filter` of those requests for which it is true, whatever their replies
    #[arg(long)]
    stats: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The `C:`/`S:` notation, a line a message
    Text,
    /// The notation, and below each message the fields of the wire with place and bytes
    Tree,
    /// JSON, an object a line
    Json,
    /// Counts and findings of each session
    Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Time {
    /// Seconds since the session's first packet
    Relative,
    /// Date and time of day in UTC
    Absolute,
    /// Seconds since the message before
    Delta,
}

/// The long help of `--filter`.
fn filter_help() -> String {
    format!(
        "Only messages for which this is true, what was found about them, and of their sessions \
         where these begin, open TLS and end: comparisons of fields, joined by `and`, `or` and \
         `not (...)`, such as `name == NBD_CMD_READ and length >= 64KiB`, `error != ok`, \
         `latency > 10ms`, `flags has FUA`, `session == 2 and from == client`.\n\n\
         Sets (`{{FUA DF}}`) are compared with `has`, `lacks`, `==` and `!=`. Sizes take KiB, MiB, \
         GiB, times ns, us, ms, s. A comparison with a field that a message does not have is false. The fields:\n\
         {}",
        fields()
    )
}

/// Where what is decoded goes to.
pub(super) type Shown<'a> = Only<'a, dyn Sink + 'a>;

impl View {
    /// What the dissector has to look for.
    pub(super) fn options(&self, keys: KeyLog) -> Options {
        let recognize = match self.format {
            Format::Summary => Recognize::Nothing,
            Format::Tree => Recognize::FormAndHead,
            Format::Text if self.verbose => Recognize::FormAndHead,
            _ => Recognize::Form,
        };
        Options { ports: self.port.clone(), recognize, keys }
    }

    /// Shows on standard output what `decode` hands on. Gives what that came to, or the exit status
    /// where the output could not be written. `live`: each line is shown at once.
    pub(super) fn show<R>(
        &self,
        live: bool,
        decode: impl FnOnce(&mut Shown<'_>) -> R,
    ) -> Result<R, u8> {
        if self.stats
            && let Some(field) = self.filter.as_ref().and_then(Expression::asks_of_replies)
        {
            crate::say!(
                "error: with `--stats` the filter chooses requests, and `{field}` is of replies"
            );
            crate::say!("hint: errors and latencies are told of all requests that it chooses");
            return Err(exit::USAGE);
        }
        let mut renderer = self.renderer(live);
        let result = match &self.filter {
            Some(expression) => {
                let filter = if self.stats { Filter::of_requests } else { Filter::new };
                let filter: &mut dyn Sink = &mut filter(&mut *renderer, expression);
                decode(&mut Only::new(filter, self.session))
            }
            None => {
                let all: &mut dyn Sink = &mut *renderer;
                decode(&mut Only::new(all, self.session))
            }
        };
        match renderer.finish() {
            Ok(()) => Ok(result),
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(exit::OK),
            Err(error) => {
                crate::say!("error: can't write the output: {error}");
                Err(exit::NO_VERDICT)
            }
        }
    }

    fn renderer(&self, live: bool) -> Box<dyn Renderer> {
        let stdout = io::stdout();
        let out: Box<dyn Write> = if live || stdout.is_terminal() {
            Box::new(LineWriter::new(stdout.lock()))
        } else {
            Box::new(BufWriter::with_capacity(64 << 10, stdout.lock()))
        };
        let text = TextOptions {
            time: match self.time {
                Time::Relative => TimeFormat::Relative,
                Time::Absolute => TimeFormat::Absolute,
                Time::Delta => TimeFormat::Delta,
            },
            latency: self.verbose,
            begins: self.verbose,
            colour: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        };
        match self.format {
            format if self.stats => Box::new(StatsRenderer::new(out, format == Format::Json)),
            Format::Text => Box::new(TextRenderer::with_options(out, text)),
            Format::Tree => Box::new(TreeRenderer::new(TextRenderer::with_options(out, text))),
            Format::Json => Box::new(JsonRenderer::new(out)),
            Format::Summary => Box::new(SummaryRenderer::new(out)),
        }
    }
}
