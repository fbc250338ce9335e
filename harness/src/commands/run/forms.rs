//! The forms in which scenarios are run: what `--axes` asks for.

use crate::peer::Transport;
use crate::run::target::{Access, Target};
use crate::script::ast::{Replies, Segmentation, TlsKind};

/// One combination of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) replies: Replies,
    pub(super) segmentation: Segmentation,
    pub(super) access: Access,
}

/// The combinations that `--axes` asks for.
pub(super) fn forms(text: &str) -> Result<Vec<Form>, String> {
    let plain = Form {
        replies: Replies::Default,
        segmentation: Segmentation::Whole,
        access: Access::default(),
    };
    let mut forms = vec![plain];
    let values: Vec<(&str, &str)> = match text {
        "default" => Vec::new(),
        "all" => vec![("replies", "all"), ("send", "all"), ("tls", "all"), ("transport", "all")],
        values => {
            let pairs = values.split(',').map(|value| value.split_once('=').ok_or(value));
            pairs.collect::<Result<_, _>>().map_err(no_axis)?
        }
    };
    for (axis, value) in values {
        let chosen = axis_values(axis, value).ok_or_else(|| no_axis(&format!("{axis}={value}")))?;
        forms =
            forms.iter().flat_map(|form| chosen.iter().map(|change| change.apply(*form))).collect();
    }
    Ok(forms)
}

fn no_axis(value: &str) -> String {
    format!(
        "`{value}` is not an axis\nhint: `default`, `all`, `replies=simple|structured|extended|all`, `send=whole|bytewise|coalesced|all`, `tls=plain|x509|psk|all`, `transport=tcp|unix|all`"
    )
}

/// A value of an axis.
#[derive(Clone, Copy)]
enum Choice {
    Replies(Replies),
    Send(Segmentation),
    Tls(Option<TlsKind>),
    Transport(Transport),
}

impl Choice {
    fn apply(self, form: Form) -> Form {
        let access = form.access;
        match self {
            Self::Replies(replies) => Form { replies, ..form },
            Self::Send(segmentation) => Form { segmentation, ..form },
            Self::Tls(tls) => Form { access: Access { tls, ..access }, ..form },
            Self::Transport(transport) => Form { access: Access { transport, ..access }, ..form },
        }
    }
}

/// What a value of an axis stands for: several forms in the case of `all`.
fn axis_values(axis: &str, value: &str) -> Option<Vec<Choice>> {
    let all: &[(&str, Choice)] = match axis {
        "replies" => &[
            ("simple", Choice::Replies(Replies::Default)),
            ("structured", Choice::Replies(Replies::Structured)),
            ("extended", Choice::Replies(Replies::Extended)),
        ],
        "send" => &[
            ("whole", Choice::Send(Segmentation::Whole)),
            ("bytewise", Choice::Send(Segmentation::Bytewise)),
            ("coalesced", Choice::Send(Segmentation::Coalesced)),
        ],
        "tls" => &[
            ("plain", Choice::Tls(None)),
            ("x509", Choice::Tls(Some(TlsKind::X509))),
            ("psk", Choice::Tls(Some(TlsKind::Psk))),
        ],
        "transport" => &[
            ("tcp", Choice::Transport(Transport::Tcp)),
            ("unix", Choice::Transport(Transport::Unix)),
        ],
        _ => return None,
    };
    let chosen: Vec<Choice> = all
        .iter()
        .filter(|(name, _)| value == "all" || *name == value)
        .map(|(_, choice)| *choice)
        .collect();
    (!chosen.is_empty()).then_some(chosen)
}

impl Form {
    /// The name of a target's run in this form.
    pub(super) fn name(self, target: &Target) -> String {
        match self.suffix().as_str() {
            "" => target.name().to_owned(),
            suffix => format!("{} ({suffix})", target.name()),
        }
    }

    /// What to add to a target's name; nothing for the plain form.
    pub(super) fn suffix(self) -> String {
        let mut words = Vec::new();
        match self.replies {
            Replies::Default => {}
            Replies::Structured => words.push("replies=structured"),
            Replies::Extended => words.push("replies=extended"),
        }
        match self.segmentation {
            Segmentation::Whole => {}
            Segmentation::Bytewise => words.push("send=bytewise"),
            Segmentation::Coalesced => words.push("send=coalesced"),
        }
        match self.access.tls {
            None => {}
            Some(TlsKind::X509) => words.push("tls=x509"),
            Some(TlsKind::Psk) => words.push("tls=psk"),
        }
        if self.access.transport == Transport::Unix {
            words.push("transport=unix");
        }
        words.join(",")
    }
}
