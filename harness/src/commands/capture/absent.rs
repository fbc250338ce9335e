//! In a build that can't.

use crate::exit;

/// Command line of `nbdcheck capture`, whatever it is.
#[derive(Debug, clap::Args)]
#[command(
    about = "Decode NBD traffic live from a network interface (not in this build: requires the \
             cargo feature `live`)",
    disable_help_flag = true
)]
pub struct Args {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<std::ffi::OsString>,
}

/// Says what to do instead; gives the exit status.
#[must_use]
pub fn run(_args: Args) -> u8 {
    crate::say!("error: this build can't capture");
    crate::say!(
        "hint: build it with `cargo build --release --features live` (needs libpcap), or\n\
        \x20     `tcpdump -i lo -U -w - tcp port 10809 | nbdcheck decode -`"
    );
    exit::USAGE
}
