//! What the specification says of each command (section "Request types"), as a table. Rules that
//! treat commands differently ask it.

use protocol::values::{Command, CommandFlags, TransmissionFlags};

use super::rules::Rule;

/// What offset and length of a request mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// A range of the export.
    Range,
    /// Nothing: both are 0, as this rule says.
    Zero(Rule),
}

/// Which way a payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// There is none.
    None,
    /// The request brings the data of its range.
    Request,
    /// The reply brings the data of the range.
    Reply,
    /// The reply brings the status of the range.
    Status,
}

/// Whether a command changes the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Never.
    Nothing,
    /// It may, and may be answered with success and have no effect.
    Advice,
    /// Its success says so.
    Content,
}

/// One command.
#[derive(Debug)]
pub(super) struct CommandRow {
    /// Its number is the place in the table.
    pub(super) command: Command,
    /// The transmission flag that offers it, and the rule that a client waits for the flag.
    pub(super) offered_by: Option<(TransmissionFlags, Rule)>,
    /// The flags that are documented for it, besides FUA, which may stand on all.
    pub(super) flags: CommandFlags,
    pub(super) fields: Fields,
    pub(super) payload: Payload,
    pub(super) writes: Writes,
    /// The rule that a client does not send it with a length of 0.
    pub(super) not_empty: Option<Rule>,
}

const PLAIN: CommandRow = CommandRow {
    command: Command::CACHE,
    // NBD_CMD_CACHE: clients are known to send it though SEND_CACHE is clear.
    offered_by: None,
    flags: CommandFlags::EMPTY,
    fields: Fields::Range,
    payload: Payload::None,
    writes: Writes::Nothing,
    not_empty: None,
};

/// All commands that are defined, by number; NBD_CMD_RESIZE belongs to an experimental extension.
static COMMANDS: [CommandRow; 8] = [
    CommandRow {
        command: Command::READ,
        flags: CommandFlags::DF,
        payload: Payload::Reply,
        not_empty: Some(Rule::ReadZeroLength),
        ..PLAIN
    },
    CommandRow {
        command: Command::WRITE,
        flags: CommandFlags::PAYLOAD_LEN,
        payload: Payload::Request,
        writes: Writes::Content,
        not_empty: Some(Rule::WriteZeroLength),
        ..PLAIN
    },
    CommandRow { command: Command::DISC, fields: Fields::Zero(Rule::DiscZeroFields), ..PLAIN },
    CommandRow {
        command: Command::FLUSH,
        offered_by: Some((TransmissionFlags::SEND_FLUSH, Rule::FlushNeedsFlag)),
        fields: Fields::Zero(Rule::FlushZeroFields),
        ..PLAIN
    },
    CommandRow {
        command: Command::TRIM,
        offered_by: Some((TransmissionFlags::SEND_TRIM, Rule::TrimNeedsFlag)),
        writes: Writes::Advice,
        not_empty: Some(Rule::TrimZeroLength),
        ..PLAIN
    },
    PLAIN,
    CommandRow {
        command: Command::WRITE_ZEROES,
        offered_by: Some((TransmissionFlags::SEND_WRITE_ZEROES, Rule::WriteZeroesNeedsFlag)),
        flags: CommandFlags(CommandFlags::NO_HOLE.0 | CommandFlags::FAST_ZERO.0),
        writes: Writes::Content,
        not_empty: Some(Rule::WriteZeroesZeroLength),
        ..PLAIN
    },
    CommandRow {
        command: Command::BLOCK_STATUS,
        flags: CommandFlags(CommandFlags::REQ_ONE.0 | CommandFlags::PAYLOAD_LEN.0),
        payload: Payload::Status,
        not_empty: Some(Rule::StatusZeroLength),
        ..PLAIN
    },
];

/// What is known of a command; `None` if nothing is.
pub(super) fn row(command: Command) -> Option<&'static CommandRow> {
    COMMANDS.get(usize::from(command.0)).filter(|row| row.command == command)
}

impl CommandRow {
    /// Whether offset and length are a range of the export.
    pub(super) fn has_range(&self) -> bool {
        self.fields == Fields::Range
    }

    /// Whether it may change the export.
    pub(super) fn may_write(&self) -> bool {
        self.writes != Writes::Nothing
    }

    /// Whether data goes either way: how much, the client decides.
    pub(super) fn moves_data(&self) -> bool {
        matches!(self.payload, Payload::Request | Payload::Reply)
    }
}

/// Which way the payload of a command goes; no command that nobody knows has one.
pub(super) fn payload(command: Command) -> Payload {
    row(command).map_or(Payload::None, |row| row.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_stands_at_its_number() {
        for (number, row) in COMMANDS.iter().enumerate() {
            assert_eq!(usize::from(row.command.0), number);
        }
        let known = Command::ALL.iter().filter(|command| row(**command).is_some());
        assert_eq!(known.count(), COMMANDS.len());
        assert!(row(Command::RESIZE).is_none());
    }
}
