//! What each version of qemu brought to NBD, and how a server shows that it has it.

use protocol::values::{OptionType, ReplyType, TransmissionFlags};

use super::survey::Capabilities;
use crate::script::ast::{TlsKind, Version};

/// A feature that a version of qemu brought.
#[derive(Debug)]
pub struct Milestone {
    /// The version.
    pub since: Version,
    /// Its name.
    pub name: &'static str,
    /// The features of scenarios, as their headers name them, that are about it.
    pub scenarios: &'static [&'static str],
    /// Only scenarios of just this version; the rest belongs to another milestone.
    pub exact: bool,
    /// Whether it hangs on how a server was set up (keys, a bitmap, a writable image), so that one
    /// export without it says little about the program.
    pub setup: bool,
    /// What a server in a configuration shows of it.
    shows: fn(&str, &Capabilities) -> Shown,
}

/// What a server shows of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// It has it.
    Yes,
    /// It has it not, as the line with these texts tells.
    No(&'static [&'static str]),
    /// Nothing either way.
    Nothing,
    /// Nothing, for a reason that lies in the export and not in the program: it is read-only.
    Hidden,
}

const fn version(major: u16, minor: u16) -> Version {
    Version { major, minor }
}

const fn milestone(
    since: Version,
    name: &'static str,
    scenarios: &'static [&'static str],
    shows: fn(&str, &Capabilities) -> Shown,
) -> Milestone {
    Milestone { since, name, scenarios, exact: false, setup: false, shows }
}

impl Milestone {
    const fn by_setup(self) -> Self {
        Self { setup: true, ..self }
    }

    const fn exactly(self) -> Self {
        Self { exact: true, ..self }
    }
}

/// All of them, the oldest first.
pub const MILESTONES: &[Milestone] = &[
    milestone(version(2, 6), "STARTTLS (X.509)", &["STARTTLS"], |configuration, found| {
        // By what the parties know each other is decided after the answer.
        if by_keys(configuration, found) { Shown::Nothing } else { starttls(found) }
    })
    .by_setup(),
    milestone(version(2, 8), "WRITE_ZEROES", &["WRITE_ZEROES"], |_, found| {
        writing(found, TransmissionFlags::SEND_WRITE_ZEROES)
    }),
    milestone(version(2, 10), "NBD_OPT_GO", &["NBD_OPT_GO", "malformed NBD_OPT_GO"], |_, found| {
        option(found, OptionType::GO, &["option=NBD_OPT_GO", "NBD_REP_ERR"])
    }),
    milestone(version(2, 10), "NBD_OPT_INFO", &["NBD_OPT_INFO"], |_, found| {
        option(found, OptionType::INFO, &["option=NBD_OPT_INFO", "NBD_REP_ERR"])
    }),
    milestone(version(2, 10), "NBD_INFO_BLOCK_SIZE", &["block sizes"], |_, found| {
        match found.options.get(&OptionType::GO) {
            _ if found.block_size.is_some() => Shown::Yes,
            Some(&ReplyType::ACK) => Shown::No(&["NBD_INFO_EXPORT"]),
            _ => option(found, OptionType::GO, &["option=NBD_OPT_GO", "NBD_REP_ERR"]),
        }
    }),
    milestone(version(2, 11), "structured replies", &["structured replies"], |_, found| {
        option(found, OptionType::STRUCTURED_REPLY, NO_STRUCTURED)
    }),
    milestone(
        version(2, 12),
        "BLOCK_STATUS base:allocation",
        &["BLOCK_STATUS base:allocation", "metadata contexts", "malformed context options"],
        |_, found| context(found, &["NBD_REP_META_CONTEXT", "name=\"base:allocation\""]),
    ),
    milestone(version(3, 0), "STARTTLS (PSK)", &["STARTTLS with PSK"], |configuration, found| {
        if by_keys(configuration, found) { starttls(found) } else { Shown::Nothing }
    })
    .by_setup(),
    milestone(version(3, 0), "qemu:dirty-bitmap", &["qemu:dirty-bitmap"], |_, found| {
        context(found, &["NBD_REP_META_CONTEXT", "name=\"qemu:dirty-bitmap:"])
    })
    .by_setup(),
    milestone(version(3, 0), "CACHE", &["CACHE"], |_, found| {
        flag(found, TransmissionFlags::SEND_CACHE)
    }),
    milestone(version(4, 2), "CAN_MULTI_CONN (read-only)", &["CAN_MULTI_CONN"], |_, found| {
        match found.flags.has(TransmissionFlags::READ_ONLY) {
            true => flag(found, TransmissionFlags::CAN_MULTI_CONN),
            false => Shown::Nothing,
        }
    })
    .by_setup()
    .exactly(),
    milestone(version(4, 2), "FAST_ZERO", &["FAST_ZERO"], |_, found| {
        writing(found, TransmissionFlags::SEND_FAST_ZERO)
    }),
    milestone(version(5, 2), "qemu:allocation-depth", &["qemu:allocation-depth"], |_, found| {
        context(found, &["NBD_REP_META_CONTEXT", "name=\"qemu:allocation-depth\""])
    })
    .by_setup(),
    milestone(version(7, 1), "CAN_MULTI_CONN (writable)", &["CAN_MULTI_CONN"], |_, found| {
        writing(found, TransmissionFlags::CAN_MULTI_CONN)
    })
    .by_setup()
    .exactly(),
    milestone(version(8, 2), "extended headers", &["extended headers"], |_, found| {
        option(found, OptionType::EXTENDED_HEADERS, NO_EXTENDED)
    }),
    milestone(version(8, 2), "BLOCK_STATUS payload", &["BLOCK_STATUS payload"], |_, found| {
        match found.options.get(&OptionType::EXTENDED_HEADERS) {
            Some(&ReplyType::ACK) => {
                if found.extended_flags.has(TransmissionFlags::BLOCK_STATUS_PAYLOAD) {
                    Shown::Yes
                } else {
                    Shown::No(ENTERED)
                }
            }
            _ => option(found, OptionType::EXTENDED_HEADERS, NO_EXTENDED),
        }
    }),
];

/// The line that tells an export's flags.
const ENTERED: &[&str] = &["size=", "flags="];
const NO_STRUCTURED: &[&str] = &["option=NBD_OPT_STRUCTURED_REPLY", "NBD_REP_ERR"];
const NO_EXTENDED: &[&str] = &["option=NBD_OPT_EXTENDED_HEADERS", "NBD_REP_ERR"];

/// A server without options has none of what is agreed by them.
fn without_options(found: &Capabilities) -> Shown {
    if found.fixed { Shown::Nothing } else { Shown::No(&["greeting"]) }
}

fn option(found: &Capabilities, wanted: OptionType, texts: &'static [&'static str]) -> Shown {
    match found.options.get(&wanted) {
        Some(&ReplyType::ACK) => Shown::Yes,
        // It was asked for in the clear, which says nothing about what there is inside.
        Some(&ReplyType::ERR_TLS_REQD) => Shown::Nothing,
        Some(_) => Shown::No(texts),
        None => without_options(found),
    }
}

/// Whether the parties know each other by pre-shared keys.
fn by_keys(configuration: &str, found: &Capabilities) -> bool {
    configuration.contains("psk") || found.tls_kind == Some(TlsKind::Psk)
}

fn starttls(found: &Capabilities) -> Shown {
    option(found, OptionType::STARTTLS, &["option=NBD_OPT_STARTTLS", "NBD_REP_ERR"])
}

fn flag(found: &Capabilities, wanted: TransmissionFlags) -> Shown {
    if found.flags.has(wanted) {
        Shown::Yes
    } else if found.evidence(ENTERED).is_some() {
        Shown::No(ENTERED)
    } else {
        Shown::Nothing
    }
}

/// A flag of commands that write: a read-only export has no use for it.
fn writing(found: &Capabilities, wanted: TransmissionFlags) -> Shown {
    match flag(found, wanted) {
        _ if found.flags.has(TransmissionFlags::READ_ONLY) => Shown::Hidden,
        shown => shown,
    }
}

fn context(found: &Capabilities, line: &'static [&'static str]) -> Shown {
    if found.evidence(line).is_some() {
        return Shown::Yes;
    }
    match found.options.get(&OptionType::LIST_META_CONTEXT) {
        Some(&ReplyType::ACK) => Shown::No(&["option=NBD_OPT_LIST_META_CONTEXT"]),
        Some(_) => {
            let refused = &["option=NBD_OPT_LIST_META_CONTEXT", "NBD_REP_ERR"];
            option(found, OptionType::LIST_META_CONTEXT, refused)
        }
        None => match option(found, OptionType::STRUCTURED_REPLY, NO_STRUCTURED) {
            Shown::Yes => Shown::Nothing,
            shown => shown,
        },
    }
}

/// Whether a server offers a milestone's feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The milestone's name.
    pub name: String,
    /// The version that brought it.
    pub since: Version,
    /// Whether it hangs on how the server was set up.
    pub setup: bool,
    /// Yes or no; `None` where nothing shows it.
    pub offered: Option<bool>,
    /// It is unknown because the export is read-only, and would show on a writable one.
    pub hidden: bool,
    /// The line that shows it is not offered.
    pub evidence: Option<String>,
}

/// What the configurations of a server show: yes where one of them does.
#[must_use]
pub fn offers<'c>(
    configurations: impl IntoIterator<Item = (&'c str, &'c Capabilities)> + Clone,
) -> Vec<Offer> {
    MILESTONES
        .iter()
        .map(|milestone| {
            let mut offer = Offer {
                name: milestone.name.to_owned(),
                since: milestone.since,
                setup: milestone.setup,
                offered: None,
                hidden: false,
                evidence: None,
            };
            for (configuration, found) in configurations.clone() {
                match (milestone.shows)(configuration, found) {
                    Shown::Yes => {
                        (offer.offered, offer.evidence) = (Some(true), None);
                        offer.hidden = false;
                        break;
                    }
                    Shown::No(texts) if offer.offered.is_none() => {
                        offer.offered = Some(false);
                        offer.hidden = false;
                        offer.evidence = found.evidence(texts).map(str::to_owned);
                    }
                    Shown::Hidden if offer.offered.is_none() => {
                        offer.hidden = true;
                        offer.evidence = found.evidence(&["READ_ONLY"]).map(str::to_owned);
                    }
                    Shown::No(_) | Shown::Nothing | Shown::Hidden => {}
                }
            }
            offer
        })
        .collect()
}

/// With which version of qemu a server is level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Level {
    /// The newest that has features which it offers, with nothing missing in it and below; `None` if it lacks
    /// some of the oldest. What can't be known of a read-only export does not count.
    pub whole: Option<Version>,
    /// The newest, if what hangs on its setup is left aside.
    pub aside: Option<Version>,
    /// What is left aside for that.
    pub without: Vec<String>,
}

/// Finds the level.
#[must_use]
pub fn level(offers: &[Offer]) -> Level {
    let newest = |lacks: &dyn Fn(&Offer) -> bool| {
        let lacking = offers.iter().filter(|offer| lacks(offer)).map(|offer| offer.since).min();
        // A version counts by what it has of it, not by what it is excused from.
        let shown = offers.iter().filter(|offer| offer.offered == Some(true));
        let versions = shown.map(|offer| offer.since);
        versions.filter(|version| lacking.is_none_or(|first| *version < first)).max()
    };
    let lacks = |offer: &Offer| offer.offered != Some(true) && !offer.hidden;
    let whole = newest(&lacks);
    let aside = newest(&|offer| lacks(offer) && !offer.setup);
    let without = offers
        .iter()
        .filter(|offer| lacks(offer) && Some(offer.since) > whole && Some(offer.since) <= aside)
        .map(|offer| offer.name.clone())
        .collect();
    Level { whole, aside, without }
}

impl Milestone {
    /// Whether a scenario of this feature and version is about it.
    #[must_use]
    pub fn covers(&self, feature: &str, since: Version) -> bool {
        self.scenarios.iter().any(|name| name.eq_ignore_ascii_case(feature))
            && (!self.exact || since == self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(flags: TransmissionFlags, line: &str) -> Capabilities {
        Capabilities {
            fixed: true,
            flags,
            lines: vec![line.to_owned()],
            options: [(OptionType::GO, ReplyType::ACK)].into(),
            ..Capabilities::default()
        }
    }

    fn found<'o>(offers: &'o [Offer], name: &str) -> &'o Offer {
        offers.iter().find(|offer| offer.name == name).unwrap()
    }

    #[test]
    fn milestones_stand_in_order_and_have_names_of_their_own() {
        assert!(MILESTONES.is_sorted_by_key(|milestone| milestone.since));
        for (at, one) in MILESTONES.iter().enumerate() {
            assert!(MILESTONES[..at].iter().all(|other| other.name != one.name), "{}", one.name);
        }
    }

    #[test]
    fn every_milestone_has_scenarios() {
        let all = crate::scenarios::all().unwrap();
        for milestone in MILESTONES {
            for name in milestone.scenarios {
                let about = |header: &crate::script::ast::Header| {
                    header.feature.node.eq_ignore_ascii_case(name)
                        && milestone.covers(&header.feature.node, header.since.node)
                };
                assert!(all.iter().any(|script| about(&script.header)), "no scenario: {name}");
            }
        }
    }

    #[test]
    fn what_is_refused_in_the_clear_is_unknown() {
        let mut found = capabilities(TransmissionFlags::HAS_FLAGS, "");
        for (answer, offered) in
            [(ReplyType::ERR_TLS_REQD, None), (ReplyType::ERR_UNSUP, Some(false))]
        {
            for option in [OptionType::EXTENDED_HEADERS, OptionType::LIST_META_CONTEXT] {
                found.options.insert(option, answer);
            }
            let offers = offers([("tls-forced", &found)]);
            for name in ["extended headers", "BLOCK_STATUS payload", "qemu:allocation-depth"] {
                assert_eq!(self::found(&offers, name).offered, offered, "{name}");
            }
        }
    }

    #[test]
    fn one_configuration_that_shows_a_feature_is_enough() {
        let line = "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1 flags={HAS_FLAGS}";
        let plain = capabilities(TransmissionFlags::HAS_FLAGS, line);
        let multi = capabilities(TransmissionFlags::CAN_MULTI_CONN, line);
        let both = offers([("default", &plain), ("multi-conn", &multi)]);
        assert_eq!(found(&both, "CAN_MULTI_CONN (writable)").offered, Some(true));
        let cache = found(&both, "CACHE");
        assert_eq!((cache.offered, cache.evidence.as_deref()), (Some(false), Some(line)));
        // What was not asked for is not denied.
        assert_eq!(found(&both, "STARTTLS (X.509)").offered, None);
        // Neither is what a writable export can't show.
        assert_eq!(found(&both, "CAN_MULTI_CONN (read-only)").offered, None);
    }

    #[test]
    fn a_level_is_the_newest_version_with_nothing_missing_below() {
        let mut offers = offers(std::iter::empty());
        for offer in &mut offers {
            offer.offered = Some(true);
        }
        assert_eq!(level(&offers).whole, Some(version(8, 2)));
        for offer in &mut offers {
            if matches!(offer.name.as_str(), "extended headers" | "qemu:dirty-bitmap") {
                offer.offered = Some(false);
            }
        }
        let found = level(&offers);
        assert_eq!((found.whole, found.aside), (Some(version(2, 12)), Some(version(7, 1))));
        assert_eq!(found.without, ["qemu:dirty-bitmap"]);
        offers[0].offered = None;
        assert_eq!(level(&offers).whole, None);
    }

    #[test]
    fn a_version_counts_by_what_it_has_and_not_by_what_it_is_excused_from() {
        let mut offers = offers(std::iter::empty());
        for offer in &mut offers {
            offer.offered = Some(offer.since < version(5, 2));
        }
        // What 5.2 brought hangs on the setup, and what 7.1 brought; 8.2 is lacking.
        let found = level(&offers);
        assert_eq!((found.whole, found.aside), (Some(version(4, 2)), Some(version(4, 2))));
        assert!(found.without.is_empty());
    }

    #[test]
    fn what_a_read_only_export_hides_does_not_lower_the_level() {
        let flags = TransmissionFlags::READ_ONLY | TransmissionFlags::SEND_CACHE;
        let line = "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1 flags={READ_ONLY}";
        let mut offers = offers([("default", &capabilities(flags, line))]);
        for offer in &mut offers {
            let zeroes = matches!(offer.name.as_str(), "WRITE_ZEROES" | "FAST_ZERO");
            assert_eq!(offer.hidden, zeroes || offer.name == "CAN_MULTI_CONN (writable)");
            if offer.hidden {
                assert_eq!((offer.offered, offer.evidence.as_deref()), (None, Some(line)));
            } else if offer.since <= version(4, 2) {
                offer.offered = Some(true);
            }
        }
        assert_eq!(level(&offers).whole, Some(version(4, 2)));
    }
}
