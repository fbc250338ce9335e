//! What the client says during option haggling (sections "Handshake" and "Option types").

use protocol::codec::{LayoutError, layout_error};
use protocol::message::{Message, OptionBody, OptionRequest, Side};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, STRING_LIMIT};

use crate::plural::Plural;

use super::context;
use super::haggling::{OUTSTANDING_LIMIT, Outstanding};
use super::judge::Session;
use super::phase::{Farewell, Phase};
use super::rules::{Findings, Rule};
use super::selection::Selection;
use super::strings;
use super::verdict::Verdict;

impl Session {
    pub(super) fn option(&mut self, request: &OptionRequest, found: &mut Findings) -> Verdict {
        let OptionRequest { option, body } = request;
        let bulk = match body {
            OptionBody::Bulk(length) => u64::from(*length),
            _ => 0,
        };
        if self.phase == Phase::Transmission {
            self.option_in_transmission(*option, found);
            return Verdict { bulk, ..Verdict::default() };
        }
        if self.phase == Phase::Flags {
            self.phase = Phase::Haggling; // the flags were missed
        }
        // "Fixed newstyle negotiation": no option before the final reply to the one before. But a
        // client may leave softly whenever it wishes.
        let leaves = *option == OptionType::ABORT;
        if self.options.began_early && self.follows(Side::Server) && !leaves {
            let before = self.options.back().map_or_else(String::new, |o| o.to_string());
            let text = format!("{option} before the final reply to {before}");
            found.client(Rule::OptionOneOutstanding, "", text);
        }
        let knows = self.informed[Side::Client];
        if self.shuts_down && knows && self.options.count() == 0 && !leaves {
            self.shuts_down = false;
            // "Termination of the session during option haggling": a soft disconnect follows.
            let text = format!("{option} after NBD_REP_ERR_SHUTDOWN was received");
            found.client(Rule::AbortsOnShutdown, "", text);
        }
        let mut outstanding = Outstanding::new(*option);
        outstanding.number = (bulk == 0).then(|| self.out.next_number());
        if *option != OptionType::GO {
            self.options.last_info = None;
        }
        self.check_fixed(*option, found);
        match body {
            OptionBody::Empty => {}
            OptionBody::Name(name) => {
                check_export_name(name, found);
                outstanding.name = Some(name.clone());
            }
            OptionBody::Info { name, requests } => {
                strings::check(name, Side::Client, "name", found);
                check_requests(requests, found);
                outstanding.name = Some(name.clone());
                outstanding.requests = Some(requests.clone());
            }
            OptionBody::Meta { export, queries } => {
                strings::check(export, Side::Client, "name", found);
                queries.iter().for_each(|query| context::check_query(query, found));
                outstanding.name = Some(export.clone());
                outstanding.queries = Some(queries.clone());
            }
            OptionBody::Raw(_) | OptionBody::Bulk(_) => {
                check_unlaid(request, found);
                outstanding.has_raw_data = true;
            }
        }
        self.check_order(&outstanding, found);
        match *option {
            OptionType::ABORT => self.farewell = Some(Farewell::Abort),
            // It replaces the selection, even when it fails.
            OptionType::SET_META_CONTEXT => self.negotiated.selection = Some(Selection::default()),
            OptionType::GO => self.options.go_sent = true,
            _ => {}
        }
        self.options.asked_block_size |= outstanding.asked_block_size();
        self.push(outstanding);
        Verdict { bulk, ..Verdict::default() }
    }

    fn push(&mut self, outstanding: Outstanding) {
        let options = &mut self.options;
        if std::mem::take(&mut options.answered_early) {
            // Its answer has begun already; take over what only the whole option tells.
            if let Some(early) = options.outstanding.back_mut()
                && early.number.is_none()
                && early.option == outstanding.option
            {
                early.number = outstanding.number;
                early.name = outstanding.name;
                early.requests = outstanding.requests;
                early.queries = outstanding.queries;
                early.has_raw_data = outstanding.has_raw_data;
            }
            return;
        }
        if options.outstanding.len() < OUTSTANDING_LIMIT {
            options.outstanding.push_back(outstanding);
        } else {
            let text = format!("more than {OUTSTANDING_LIMIT} options without a final reply");
            self.lose(Side::Client, super::ProblemKind::Limit, text);
        }
    }

    fn option_in_transmission(&mut self, option: OptionType, found: &mut Findings) {
        self.replies.set_doubtful();
        self.replies.excuse_strays();
        if self.options.go_sent && option == OptionType::ABORT {
            // A client may leave softly whenever it wishes: this one may have met the ACK on its way.
        } else if self.options.go_sent {
            // NBD_OPT_GO: no further options unless the final reply was an error.
            let text = "an option after NBD_REP_ACK to NBD_OPT_GO";
            found.client(Rule::GoNoMoreOptions, "", text);
        } else {
            // "Request message".
            found.client(Rule::RequestLayout, "", "an option in the place of a request");
        }
    }

    /// Options that need fixed newstyle.
    fn check_fixed(&self, option: OptionType, found: &mut Findings) {
        if self.fixed() != Some(false) || option == OptionType::EXPORT_NAME {
            return;
        }
        if option == OptionType::STARTTLS {
            // "Client-side requirements": not unless both sides set the fixed newstyle flag.
            let text = "NBD_OPT_STARTTLS, though fixed newstyle was not agreed";
            found.client(Rule::StarttlsNeedsFixed, "", text);
        } else {
            // "Newstyle negotiation": only NBD_OPT_EXPORT_NAME can be sent.
            let text = format!("{option}, though fixed newstyle was not agreed");
            found.client(Rule::NonfixedOneOption, "", text);
        }
    }

    /// Rules about what must have come before an option.
    fn check_order(&mut self, outstanding: &Outstanding, found: &mut Findings) {
        let option = outstanding.option;
        let known = self.follows(Side::Server);
        let negotiated = &self.negotiated;
        let chunks = negotiated.structured || negotiated.extended;
        match option {
            OptionType::PEEK_EXPORT => {
                // NBD_OPT_PEEK_EXPORT: of an extension that was withdrawn; not in use.
                let text = "NBD_OPT_PEEK_EXPORT is withdrawn";
                found.client(Rule::PeekExportWithdrawn, "", text);
            }
            OptionType::EXPORT_NAME => self.check_entry_by_name(found),
            OptionType::GO => self.check_entry_by_go(outstanding, found),
            // "Fixed newstyle negotiation": options that change state are sent once.
            OptionType::STRUCTURED_REPLY if negotiated.structured => {
                let text = "structured replies are negotiated already";
                found.client(Rule::OptionNoRepeat, "", text);
            }
            OptionType::EXTENDED_HEADERS if negotiated.extended => {
                let text = "extended headers are negotiated already";
                found.client(Rule::OptionNoRepeat, "", text);
            }
            OptionType::STARTTLS if self.tls => {
                // "Client-side requirements": not if TLS has been initiated.
                let text = "NBD_OPT_STARTTLS inside TLS";
                found.client(Rule::NoSecondStarttls, "", text);
            }
            OptionType::STARTTLS => {
                let selected = negotiated.selection.as_ref().is_some_and(Selection::is_some);
                if chunks || selected {
                    // NBD_OPT_STARTTLS: stateful options wait until it is known whether there
                    // is TLS.
                    let text = "NBD_OPT_STARTTLS after options whose effect it undoes";
                    found.client(Rule::StarttlsDefersState, "", text);
                }
            }
            OptionType::LIST_META_CONTEXT if known && !chunks => {
                // NBD_OPT_LIST_META_CONTEXT: structured replies come first.
                let text = "contexts are listed before structured replies are negotiated";
                found.client(Rule::ListMetaStructuredFirst, "", text);
            }
            OptionType::SET_META_CONTEXT if known && !chunks => {
                if let Some((rule, text)) = self.not_renegotiated() {
                    found.client(rule, "", text);
                } else {
                    // NBD_OPT_SET_META_CONTEXT: structured replies come first.
                    let text = "contexts are selected before structured replies are negotiated";
                    found.client(Rule::SetMetaNeedsStructured, "", text);
                }
            }
            _ => {}
        }
    }

    fn check_entry_by_name(&self, found: &mut Findings) {
        let options = &self.options;
        if self.negotiated.extended {
            // NBD_OPT_EXTENDED_HEADERS: once it succeeded, NBD_OPT_EXPORT_NAME is not used.
            let text = "NBD_OPT_EXPORT_NAME, though extended headers were negotiated";
            return found.client(Rule::ExtExportNameForbidden, "", text);
        }
        // NBD_OPT_EXPORT_NAME: clients should use NBD_OPT_GO first. (Without fixed newstyle it is
        // the only option there is.)
        if self.fixed() == Some(true) && !options.go_sent {
            let text = "NBD_OPT_EXPORT_NAME, though NBD_OPT_GO was not tried";
            found.client(Rule::GoPreferred, "", text);
        }
        // "Size constraints": who can honour constraints (and said so by asking for them in
        // NBD_OPT_GO) falls back only where NBD_OPT_INFO or NBD_OPT_GO is not supported.
        if options.go_refused && !options.unsupported {
            let text = "NBD_OPT_EXPORT_NAME, though the server supports NBD_OPT_GO";
            found.client(Rule::SizeClientUsesGo, "", text);
        }
    }

    fn check_entry_by_go(&mut self, go: &Outstanding, found: &mut Findings) {
        if go.requests.is_none() || go.asked_block_size() || self.options.told_block_size {
            return;
        }
        self.options.told_block_size = true;
        if self.options.asked_block_size {
            // "Size constraints": who can honour constraints asks for them in NBD_OPT_GO too.
            let text = "NBD_OPT_GO without NBD_INFO_BLOCK_SIZE, which was asked for before";
            found.client(Rule::ClientRequestsBlockSize, "info", text);
        } else {
            // "Maximum interoperability": clients should query size constraints.
            let text = "NBD_OPT_GO without NBD_INFO_BLOCK_SIZE";
            found.client(Rule::InteropQueriesBlockSize, "info", text);
        }
    }
}

fn check_export_name(name: &WireString, found: &mut Findings) {
    let bytes = name.as_bytes();
    if let Some((head, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        let counted = length == rest.len()
            // The layout of NBD_OPT_GO: name, count of requests, requests.
            || rest.get(length..).and_then(|tail| tail.split_first_chunk::<2>()).is_some_and(
                |(count, tail)| usize::from(u16::from_be_bytes(*count)) * 2 == tail.len(),
            );
        if counted {
            // NBD_OPT_EXPORT_NAME: the name's length is that of the option, and nothing else comes.
            let text = "the name begins with a count of its own";
            found.client(Rule::ExportNameRequestLayout, "name", text);
            return;
        }
    }
    strings::check(name, Side::Client, "name", found);
}

fn check_requests(requests: &[InfoType], found: &mut Findings) {
    // NBD_OPT_INFO and NBD_OPT_GO: no request in the list more than once.
    let mut sorted = requests.to_vec();
    sorted.sort_unstable();
    if let Some((twice, _)) = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
        let text = format!("{twice} is requested more than once");
        found.client(Rule::InfoNoDuplicateRequests, "info", text);
    }
}

/// Data that does not have the layout of its option, or that is too long to keep.
fn check_unlaid(request: &OptionRequest, found: &mut Findings) {
    let option = request.option;
    let without_data = match option {
        // NBD_OPT_ABORT: no additional data (SHOULD NOT); the others: MUST NOT.
        OptionType::ABORT => Some(Rule::AbortNoData),
        OptionType::LIST => Some(Rule::ListNoData),
        OptionType::STARTTLS => Some(Rule::StarttlsNoData),
        OptionType::STRUCTURED_REPLY => Some(Rule::StructuredNoData),
        OptionType::EXTENDED_HEADERS => Some(Rule::ExtendedHeadersNoData),
        _ => None,
    };
    if let Some(rule) = without_data {
        return found.client(rule, "data", format!("{option} with data"));
    }
    let data = match &request.body {
        OptionBody::Raw(data) => data,
        OptionBody::Bulk(length) if option == OptionType::EXPORT_NAME => {
            // "Conventions".
            let text = format!("name of {length} bytes is longer than {STRING_LIMIT}");
            return found.client(Rule::StringHardLimit, "data", text);
        }
        _ => return,
    };
    let Some(error) = layout_error(&Message::Option(request.clone())) else { return };
    match option {
        OptionType::INFO | OptionType::GO => check_info_layout(data, error, found),
        // NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT: counted name, counted queries.
        _ => found.client(Rule::MetaRequestLayout, "data", error.to_string()),
    }
}

fn check_info_layout(data: &[u8], error: LayoutError, found: &mut Findings) {
    let name = data.first_chunk::<4>().map(|head| u64::from(u32::from_be_bytes(*head)));
    let room = (data.len() as u64).saturating_sub(6);
    match name {
        // NBD_OPT_INFO and NBD_OPT_GO: the name is no longer than the option data less 6.
        Some(length) if length > room && data.len() >= 6 => {
            let data = Plural(data.len() as u64, "byte");
            let text = format!("name length {length} leaves no room in {data}");
            found.client(Rule::InfoGoNameLength, "data", text);
        }
        _ => found.client(Rule::InfoGoLayout, "data", error.to_string()),
    }
}
