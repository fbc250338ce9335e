//! What a script says of the final reply to an option: what right servers answer, or may.

use protocol::message::OptionRequest;
use protocol::requirements::id;
use protocol::values::{OptionType, ReplyType};

/// Why a session whose TLS began otherwise than it must is no script.
pub(super) const WRONG_TLS: &str = "TLS began against the rules";

/// Options after which the session is another, so that nothing else can follow in a script.
const CHANGES_THE_SESSION: [OptionType; 4] = [
    OptionType::STARTTLS,
    OptionType::STRUCTURED_REPLY,
    OptionType::SET_META_CONTEXT,
    OptionType::EXTENDED_HEADERS,
];

/// An option of the client that has no final reply yet.
pub(super) struct Asked {
    /// The number of its message.
    pub(super) number: u64,
    pub(super) option: OptionRequest,
    /// The client was accused of it: right servers may refuse it.
    pub(super) unlawful: bool,
}

/// What becomes of a final reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The option was acknowledged, and right servers would do so.
    Served,
    /// These lines stand for it.
    Line(String),
    /// The option is left out: it had no effect, and has one on other servers.
    LeftOut,
    /// A right server would have entered the export or ended the session.
    Ends,
    /// No script can be made of what follows.
    NotReplayable(&'static str),
}

impl Told {
    /// `others`: other options had been sent and not answered.
    pub(super) fn of(asked: &Asked, reply: ReplyType, others: bool) -> Self {
        let option = asked.option.option;
        let refused = reply != ReplyType::ACK;
        let changes = CHANGES_THE_SESSION.contains(&option);
        match option {
            OptionType::EXPORT_NAME => return Self::Ends,
            OptionType::STARTTLS if others && !refused => return Self::NotReplayable(WRONG_TLS),
            OptionType::GO if asked.unlawful && !refused => {
                return Self::NotReplayable("the export was entered against the rules");
            }
            _ => {}
        }
        let known = option.name().is_some() && option != OptionType::ABORT;
        // A name that is not known here is not likely to be known elsewhere.
        let served_elsewhere =
            changes || (option == OptionType::GO && reply != ReplyType::ERR_UNKNOWN);
        if (reply == ReplyType::ERR_UNSUP && known)
            || (refused && !asked.unlawful && served_elsewhere)
        {
            return Self::LeftOut;
        }
        if !refused && !asked.unlawful && is_served(option) {
            return Self::Served;
        }
        // Which error it is, is mostly the server's choice, and so is often whether it is one.
        let lists = [OptionType::INFO, OptionType::LIST, OptionType::LIST_META_CONTEXT];
        let open = match refused {
            true => lists.contains(&option) && !asked.unlawful,
            false => !changes,
        };
        let error = format!("S: error option={option}");
        match open {
            true => Self::Line(format!(
                "either {{ {} }}  # {reply} in the capture\nor {{ {error} }}",
                acknowledged(option)
            )),
            false if refused => Self::Line(format!("{error}  # {reply} in the capture")),
            false => Self::Served,
        }
    }
}

/// The lines of an option that is acknowledged, but for contexts that are selected.
pub(super) fn acknowledged(option: OptionType) -> String {
    match option {
        OptionType::GO | OptionType::INFO => {
            "until S: NBD_REP_ACK { S: NBD_REP_INFO _ }".to_owned()
        }
        OptionType::LIST => "until S: NBD_REP_ACK { S: NBD_REP_SERVER }".to_owned(),
        OptionType::LIST_META_CONTEXT => {
            "until S: NBD_REP_ACK { S: NBD_REP_META_CONTEXT }".to_owned()
        }
        other => format!("S: NBD_REP_ACK option={other}"),
    }
}

/// What right servers may do at NBD_OPT_EXPORT_NAME where the one of the capture did not enter the export:
/// another may know the export, and a faulty one may have left at one that it knows.
pub(super) fn entered_or_left(captured: &str) -> String {
    format!("either {{\nS: export-info  # {captured}\n-- close\n}}\nor {{ S: end }}")
}

/// Whether the specification has servers acknowledge an option.
fn is_served(option: OptionType) -> bool {
    option.name().is_some() && ![OptionType::PEEK_EXPORT, OptionType::EXPORT_NAME].contains(&option)
}

/// Options that a server was wrong to serve.
const WRONGLY_SERVED: [&str; 5] = [
    id::OPT_LIST_DATA_INVALID,
    id::OPT_STRUCTURED_DATA_INVALID,
    id::OPT_SET_META_EARLY_INVALID,
    id::EXT_OPT_DATA_INVALID,
    id::EXT_STRUCTURED_AFTER_EXTENDED,
];

/// Options that a server was wrong to refuse, or to refuse so.
const WRONGLY_REFUSED: [&str; 5] = [
    id::BASELINE_LIST,
    id::TLS_STARTTLS_ACKED,
    id::TLS_NOTLS_NO_TLS_REQD,
    id::TLS_SELECTIVE_TLS_REQD_SCOPE,
    id::EXT_STRUCTURED_AFTER_EXTENDED,
];

/// What stands in place of a line that asks for a final reply of which the server was accused; `None`
/// where the line asks for nothing wrong.
pub(super) fn right_reply(line: &str, id: &str) -> Option<String> {
    let what = "# what the capture has is against the rules";
    if let Some(rest) = line.strip_prefix("S: error option=") {
        let option = rest.split_whitespace().next()?;
        let either = format!(
            "either {{ S: NBD_REP_ACK option={option} }}  {what}\nor {{ S: error option={option} }}"
        );
        return WRONGLY_REFUSED.contains(&id).then_some(either);
    }
    let option = line
        .strip_prefix("S: NBD_REP_ACK option=")
        .and_then(|rest| rest.split_whitespace().next())
        .or_else(|| match line {
            "S: NBD_REP_ACK" => Some("NBD_OPT_SET_META_CONTEXT"),
            _ if line.contains("{ S: NBD_REP_SERVER }") => Some("NBD_OPT_LIST"),
            _ if line.contains("{ S: NBD_REP_INFO _ }") => Some("_"),
            _ => None,
        })?;
    let field = if option == "_" { String::new() } else { format!(" option={option}") };
    // Whether TLS is demanded is the next server's choice. What is open already stays so.
    if id == id::TLS_FORCED_ERROR_OTHER_OPTIONS && line.starts_with("either ") {
        return None;
    }
    if id == id::TLS_FORCED_ERROR_OTHER_OPTIONS {
        return Some(format!("either {{ {line} }}  {what}\nor {{ S: error{field} }}"));
    }
    WRONGLY_SERVED.contains(&id).then(|| format!("S: error{field}  {what}"))
}

#[cfg(test)]
mod tests {
    use protocol::message::OptionBody;

    use super::*;

    fn told(option: OptionType, reply: ReplyType, unlawful: bool) -> Told {
        let option = OptionRequest { option, body: OptionBody::Empty };
        Told::of(&Asked { number: 1, option, unlawful }, reply, false)
    }

    #[test]
    fn what_right_servers_may_answer_otherwise_is_open() {
        let open = |option, reply, unlawful| match told(option, reply, unlawful) {
            Told::Line(line) => line.starts_with("either { ") && line.contains("\nor { S: error"),
            _ => false,
        };
        assert!(open(OptionType::INFO, ReplyType::ERR_UNKNOWN, false));
        assert!(open(OptionType::LIST, ReplyType::ERR_POLICY, false));
        assert!(open(OptionType::LIST, ReplyType::ACK, true));
        assert!(open(OptionType(0x4e42_4421), ReplyType::ACK, false));
    }

    #[test]
    fn what_no_right_server_does_is_not_asked_for() {
        assert_eq!(told(OptionType::EXPORT_NAME, ReplyType::ERR_UNKNOWN, false), Told::Ends);
        assert_eq!(told(OptionType::STRUCTURED_REPLY, ReplyType::ERR_POLICY, false), Told::LeftOut);
        assert_eq!(told(OptionType::GO, ReplyType::ERR_TLS_REQD, false), Told::LeftOut);
        assert!(matches!(told(OptionType::GO, ReplyType::ACK, true), Told::NotReplayable(_)));
    }

    #[test]
    fn what_is_right_is_asked_for() {
        assert_eq!(told(OptionType::GO, ReplyType::ACK, false), Told::Served);
        let refused = told(OptionType::INFO, ReplyType::ERR_INVALID, true);
        let error = "S: error option=NBD_OPT_INFO  # NBD_REP_ERR_INVALID in the capture";
        assert_eq!(refused, Told::Line(error.to_owned()));
    }

    #[test]
    fn what_is_open_is_not_opened_again() {
        let rule = id::TLS_FORCED_ERROR_OTHER_OPTIONS;
        let served = acknowledged(OptionType::LIST);
        let open = right_reply(&served, rule).expect("TLS may be demanded");
        assert!(open.starts_with("either { until "), "{open}");
        assert_eq!(right_reply(&open, rule), None);
    }
}
