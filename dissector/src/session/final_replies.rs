//! Which final reply an option must have, or must not have, whatever it is that the server offers.

use protocol::values::{OptionType, ReplyType};

use super::haggling::Outstanding;
use super::judge::Session;
use super::rules::{Findings, Rule};

impl Session {
    /// The final reply to an option that is known.
    pub(super) fn check_final(
        &mut self,
        reply: ReplyType,
        option: &Outstanding,
        found: &mut Findings,
    ) {
        if option.option == OptionType::LIST {
            self.options.listed(reply == ReplyType::ACK);
        }
        // Without fixed newstyle any option may be refused, and a server that shuts down refuses all.
        if self.fixed() != Some(true) || reply == ReplyType::ERR_SHUTDOWN {
            return;
        }
        self.check_state(reply, option, found);
        // Data that did not come whole is not known.
        if option.has_raw_data && option.number.is_some() && reply == ReplyType::ACK {
            check_data(option.option, found);
        }
        if !self.tls {
            self.check_mode(reply, option, found);
        }
    }

    /// What the state of the session leaves as an answer.
    fn check_state(&self, reply: ReplyType, option: &Outstanding, found: &mut Findings) {
        let (structured, extended) = (self.negotiated.structured, self.negotiated.extended);
        match option.option {
            OptionType::STARTTLS if self.tls && reply != ReplyType::ERR_INVALID => {
                // "FORCEDTLS mode", "SELECTIVETLS mode": once TLS is up, NBD_REP_ERR_INVALID.
                let text = format!("{reply} in answer to NBD_OPT_STARTTLS inside TLS");
                found.server(Rule::StarttlsTwiceInvalid, "", text);
            }
            OptionType::LIST if reply == ReplyType::ERR_UNSUP => {
                // "Baseline": NBD_OPT_LIST is implemented.
                let text = "NBD_REP_ERR_UNSUP in answer to NBD_OPT_LIST";
                found.server(Rule::BaselineList, "", text);
            }
            OptionType::STRUCTURED_REPLY
                if extended && !option.has_raw_data && reply != ReplyType::ERR_EXT_HEADER_REQD =>
            {
                // NBD_OPT_STRUCTURED_REPLY: extended headers take precedence.
                let text = format!("{reply}, though extended headers were negotiated");
                found.server(Rule::ExtStructuredAfterExtended, "", text);
            }
            OptionType::SET_META_CONTEXT if reply == ReplyType::ACK && !structured && !extended => {
                // NBD_OPT_SET_META_CONTEXT: early, it should fail as invalid.
                let text = "contexts are selected before structured replies are negotiated";
                found.server(Rule::SetMetaEarlyInvalid, "", text);
            }
            _ => {}
        }
    }

    /// "TLS support": a server has one mode. What is answered before TLS is up tells it.
    fn check_mode(&mut self, reply: ReplyType, option: &Outstanding, found: &mut Findings) {
        let mode = self.options.tls_mode;
        let demands = reply == ReplyType::ERR_TLS_REQD;
        let about_an_export = matches!(option.option, OptionType::INFO | OptionType::GO);
        match option.option {
            OptionType::ABORT | OptionType::EXPORT_NAME => {}
            OptionType::STARTTLS if reply == ReplyType::ACK || option.has_raw_data => {}
            OptionType::STARTTLS => {
                if mode.demanded {
                    // "FORCEDTLS mode", "SELECTIVETLS mode": NBD_OPT_STARTTLS is acknowledged.
                    let text =
                        format!("{reply} in answer to NBD_OPT_STARTTLS, and TLS is demanded");
                    found.server(Rule::StarttlsAcked, "", text);
                }
                self.options.tls_mode.refused = true;
            }
            _ if demands => {
                if mode.refused {
                    // "NOTLS mode": NBD_REP_ERR_TLS_REQD is not sent.
                    let text = "TLS is demanded, and NBD_OPT_STARTTLS was refused";
                    found.server(Rule::NotlsNoTlsReqd, "", text);
                } else if mode.served && !about_an_export {
                    // "SELECTIVETLS mode": only for NBD_OPT_INFO and NBD_OPT_GO.
                    let option = option.option;
                    let text = format!("TLS is demanded for {option}, and not for all options");
                    found.server(Rule::SelectiveTlsReqdScope, "", text);
                }
                self.options.tls_mode.demanded = true;
                self.options.tls_mode.forced |= !about_an_export;
            }
            _ if reply == ReplyType::ACK => {
                if mode.forced && !mode.served {
                    // "FORCEDTLS mode": NBD_REP_ERR_TLS_REQD for every option but two.
                    let option = option.option;
                    let text = format!("{option} is served without TLS, and TLS is forced");
                    found.server(Rule::ForcedErrorsOthers, "", text);
                }
                self.options.tls_mode.served = true;
            }
            _ => {}
        }
    }
}

/// An option was acknowledged, though its data does not have its layout.
fn check_data(option: OptionType, found: &mut Findings) {
    let rule = match option {
        // NBD_OPT_LIST, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_EXTENDED_HEADERS: with data they should fail
        // as invalid.
        OptionType::LIST => Rule::ListDataInvalid,
        OptionType::STRUCTURED_REPLY => Rule::StructuredDataInvalid,
        OptionType::EXTENDED_HEADERS => Rule::ExtOptDataInvalid,
        // NBD_OPT_INFO and NBD_OPT_GO fail as invalid where they can't be read; bytes behind what can be
        // read may be skipped.
        _ => return,
    };
    found.server(rule, "", format!("{option} is acknowledged, though its data is invalid"));
}
