//! Help texts, as a person reads them.

use clap::CommandFactory as _;

use super::Cli;

/// Columns that help texts are wrapped to here; on a terminal it is as wide as the terminal is, up to 100.
const WIDTH: usize = 100;

/// The default of `--jobs` follows the machine's cores.
fn anywhere(text: &str) -> String {
    text.replace(&format!("[default: {}]", super::runtime::default_jobs()), "[default: JOBS]")
}

#[test]
fn help_texts() {
    let mut cli = Cli::command().term_width(WIDTH);
    cli.build();
    insta::assert_snapshot!("nbdcheck", anywhere(&cli.render_long_help().to_string()));
    let names: Vec<String> = cli.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        // Without libpcap there is another text.
        if name == "capture" && !cfg!(feature = "live") {
            continue;
        }
        let command = cli.find_subcommand_mut(name).expect("it was listed");
        let short = command.render_help().to_string();
        let long = command.render_long_help().to_string();
        let text = format!("{}\n==== --help ====\n\n{}", short.trim_end(), long.trim_end());
        insta::assert_snapshot!(name.as_str(), anywhere(&text));
        let parts: Vec<String> =
            command.get_subcommands().map(|part| part.get_name().to_owned()).collect();
        for part in parts.iter().filter(|part| *part != "help") {
            let text = command.find_subcommand_mut(part).expect("it was listed").render_long_help();
            insta::assert_snapshot!(format!("{name}_{part}"), anywhere(&text.to_string()));
        }
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}
