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

use super::CommandError;

/// What to show, and in which form.
#[derive(Debug, clap::Args)]
pub(super) struct View {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// An additional TCP port of an NBD server, besides 10809. Can be repeated
    #[arg(long, value_name = "N")]
    pub(super) port: Vec<u16>,

    /// Show only the session with this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) session: Option<u64>,

    /// Show only messages that match this expression, such as `name == NBD_CMD_READ and length >=
    /// 64KiB` or `latency > 10ms`; `--help` lists the fields
    #[arg(long, value_name = "EXPR", long_help = filter_help())]
    filter: Option<Expression>,

    /// How to show times in text output
    #[arg(long, value_enum, default_value_t = Time::Relative)]
    time: Time,

    /// Also show each reply's latency, and the first bytes of data that is shown as a digest
    #[arg(long, short)]
    verbose: bool,

    /// Print statistics for each session and command instead of messages: count, bytes, errors,
    /// share of sequential access, latency with a histogram, requests in flight over time, slowest
    /// requests. With `--format json`, one object per line. With `--filter`, only requests that
    /// match; their replies always count
    #[arg(long)]
    stats: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// `C:` and `S:` lines in script notation, one line per message
    Text,
    /// Like text, with every wire field of each message, its offset and its bytes
    Tree,
    /// One JSON object per line
    Json,
    /// Counts and findings for each session
    Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Time {
    /// Seconds since the first packet of the session
    Relative,
    /// Date and time in UTC
    Absolute,
    /// Seconds since the previous message
    Delta,
}

/// The long help of `--filter`.
fn filter_help() -> String {
    format!(
        "Show only messages that match this expression, with the findings about them. The lines \
         where their sessions begin, switch to TLS and end are shown, too.\n\n\
         An expression compares fields and can use `and`, `or` and `not (...)`: \
         `name == NBD_CMD_READ and length >= 64KiB`, `error != ok`, `latency > 10ms`, \
         `flags has FUA`, `session == 2 and from == client`.\n\n\
         Sets such as `{{FUA DF}}` are compared with `has`, `lacks`, `==` and `!=`. Sizes can have \
         the suffix KiB, MiB, GiB or TiB, and times ns, us, ms or s. A comparison is false if the \
         message does not have the field.\n\n\
         Fields:\n\
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

    /// Shows on standard output what `decode` hands on. Returns what that came to, or nothing if the
    /// reader of the output has gone. `live`: each line is shown at once.
    pub(super) fn show<R>(
        &self,
        live: bool,
        decode: impl FnOnce(&mut Shown<'_>) -> R,
    ) -> Result<Option<R>, CommandError> {
        if self.stats
            && let Some(field) = self.filter.as_ref().and_then(Expression::asks_of_replies)
        {
            let text = format_args!(
                "with `--stats` the filter chooses requests, and `{field}` is of replies"
            );
            let hint = "errors and latencies are counted for every request that it selects";
            return Err(CommandError::usage(text).hint(hint));
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
            Ok(()) => Ok(Some(result)),
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(CommandError::cannot_write("the output", &error)),
        }
    }

    /// What stands before the output for one of several captures.
    pub(super) fn heading(&self, name: &str, first: bool) -> String {
        match self.format {
            Format::Json => format!("{}\n", serde_json::json!({ "type": "file", "file": name })),
            _ if first => format!("# file {name}\n"),
            _ => format!("\n# file {name}\n"),
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
