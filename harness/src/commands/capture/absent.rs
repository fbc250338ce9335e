//! In a build that can't.

use crate::commands::CommandError;

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

/// Says what to do instead.
///
/// # Errors
/// Always.
pub fn run(_args: Args) -> Result<u8, CommandError> {
    let error = CommandError::usage("this build can't capture");
    Err(error.hint(
        "build it with `cargo build --release --features live` (needs libpcap), or\n\
        \x20     `tcpdump -i lo -U -w - tcp port 10809 | nbdcheck decode -`",
    ))
}
