//! What a server tells about an export in answer to NBD_OPT_INFO and NBD_OPT_GO.

use protocol::message::{Info, Side};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType, TransmissionFlags};

use crate::plural::Plural;

use super::export::BlockSize;
use super::haggling::{ITEM_LIMIT, Outstanding};
use super::judge::Session;
use super::rules::{Findings, Rule};
use super::strings;

impl Session {
    /// One item of information.
    pub(super) fn info_item(&self, info: &Info, option: &mut Outstanding, found: &mut Findings) {
        let kind = info.info_type();
        match info {
            Info::Export { flags, .. } => {
                self.transmission_flags(*flags, found);
                if option.option == OptionType::GO {
                    self.check_status_payload_flag(*flags, found);
                }
            }
            Info::Name(name) => strings::check(name, Side::Server, "name", found),
            Info::Description(text) => strings::check(text, Side::Server, "description", found),
            Info::BlockSize { minimum, preferred, maximum } => check_block_size(
                BlockSize { minimum: *minimum, preferred: *preferred, maximum: *maximum },
                found,
            ),
            Info::Raw { data, .. } => {
                let length = Plural(data.len() as u64 + 2, "byte");
                match kind {
                    // NBD_INFO_EXPORT: the length is 12.
                    InfoType::EXPORT => found.server(
                        Rule::InfoExportLength,
                        "data",
                        format!("NBD_INFO_EXPORT of {length} instead of 12"),
                    ),
                    // NBD_INFO_BLOCK_SIZE: the length is 14.
                    InfoType::BLOCK_SIZE => found.server(
                        Rule::InfoBlockSizeLength,
                        "data",
                        format!("NBD_INFO_BLOCK_SIZE of {length} instead of 14"),
                    ),
                    _ => {}
                }
            }
        }
        // NBD_REP_INFO: a type should appear once for an export.
        if option.items.iter().any(|item| item.info_type() == kind) {
            found.server(Rule::InfoTypeOnce, "", format!("{kind} is sent more than once"));
        }
        if option.items.len() < ITEM_LIMIT {
            option.items.push(info.clone());
            check_size_and_constraints(info, option, found);
        } else {
            option.overflow = true;
        }
    }

    /// The final NBD_REP_ACK to NBD_OPT_INFO or NBD_OPT_GO.
    pub(super) fn info_acknowledged(&self, option: &Outstanding, found: &mut Findings) {
        self.check_description(option, found);
        // NBD_OPT_INFO and NBD_OPT_GO: NBD_INFO_EXPORT comes before NBD_REP_ACK.
        if !option.items.iter().any(|item| item.info_type() == InfoType::EXPORT) && !option.overflow
        {
            let text = "NBD_REP_ACK, though no NBD_INFO_EXPORT was sent";
            found.server(Rule::InfoExportRequired, "", text);
        }
        // After a successful NBD_OPT_INFO, NBD_OPT_GO with the same parameters and no option in
        // between tells the same, in any order.
        let Some(info) = &self.options.last_info else { return };
        let same_parameters = info.name == option.name && info.requests == option.requests;
        if !same_parameters || info.overflow || option.overflow {
            return;
        }
        // Of BLOCK_STATUS_PAYLOAD the extension says something for NBD_OPT_GO alone.
        let told = |item: &Info| match item {
            Info::Export { size, flags } => Info::Export {
                size: *size,
                flags: flags.without(TransmissionFlags::BLOCK_STATUS_PAYLOAD),
            },
            item => item.clone(),
        };
        let missing = |a: &Outstanding, b: &Outstanding| {
            let has = |item: &&Info| b.items.iter().any(|other| told(other) == told(item));
            a.items.iter().find(|item| !has(item)).map(Info::info_type)
        };
        if let Some(kind) = missing(option, info).or_else(|| missing(info, option)) {
            let text = format!("{kind} differs from the answer to NBD_OPT_INFO");
            found.server(Rule::InfoGoConsistent, "", text);
        }
    }

    /// NBD_INFO_DESCRIPTION: the same description as in the answer to NBD_OPT_LIST, if it has one.
    fn check_description(&self, option: &Outstanding, found: &mut Findings) {
        let described = option.items.iter().find_map(|item| match item {
            Info::Description(text) => Some(text),
            _ => None,
        });
        let canonical = option.items.iter().find_map(|item| match item {
            Info::Name(name) => Some(name),
            _ => None,
        });
        let (Some(described), Some(name)) = (described, canonical.or(option.name.as_ref())) else {
            return;
        };
        // The empty name is that of whatever export is the default.
        let is_it = |(listed, text): &&(_, WireString)| listed == name && !text.is_empty();
        if let Some((_, listed)) = self.options.listed.iter().find(is_it)
            && !name.is_empty()
            && !described.is_empty()
            && listed != described
        {
            let text = format!("the description is {described}, and {listed} in the list");
            found.server(Rule::DescriptionMatchesList, "", text);
        }
    }

    /// A final error to NBD_OPT_INFO or NBD_OPT_GO.
    pub(super) fn info_refused(
        &self,
        reply: ReplyType,
        option: &Outstanding,
        found: &mut Findings,
    ) {
        // NBD_REP_ERR_UNKNOWN: no NBD_REP_INFO before it.
        if reply == ReplyType::ERR_UNKNOWN && !option.items.is_empty() {
            let text = "information was sent about an unknown export";
            found.server(Rule::InfoUnknownNoInfo, "", text);
        }
        if reply != ReplyType::ERR_BLOCK_SIZE_REQD {
            return;
        }
        if option.asked_block_size() {
            // NBD_REP_ERR_BLOCK_SIZE_REQD: not if NBD_INFO_BLOCK_SIZE was requested.
            let text = "NBD_INFO_BLOCK_SIZE is demanded, though it was requested";
            found.server(Rule::BlockSizeReqdNotIfRequested, "", text);
        } else if option.requests.is_some() && option.block_size().is_none() {
            // NBD_REP_ERR_BLOCK_SIZE_REQD: NBD_INFO_BLOCK_SIZE should be sent first.
            let text = "NBD_INFO_BLOCK_SIZE is demanded, and was not sent first";
            found.server(Rule::BlockSizeReqdTellsFirst, "", text);
        }
    }
}

/// "Size constraints": what each field must be.
fn check_block_size(size: BlockSize, found: &mut Findings) {
    let BlockSize { minimum, preferred, maximum } = size;
    // The minimum is a power of 2...
    if !minimum.is_power_of_two() {
        let text = format!("minimum={minimum} is not a power of 2");
        found.server(Rule::BlockSizeMinPowerOf2, "minimum", text);
    }
    // ... and not larger than 2^16.
    if minimum > 1 << 16 {
        let text = format!("minimum={minimum} is larger than 65536");
        found.server(Rule::BlockSizeMinLimit, "minimum", text);
    }
    // The preferred size is a power of 2...
    if !preferred.is_power_of_two() {
        let text = format!("preferred={preferred} is not a power of 2");
        found.server(Rule::BlockSizePreferredPowerOf2, "preferred", text);
    }
    // ... and at least the larger one of the minimum and 512.
    if preferred < minimum.max(512) {
        let least = minimum.max(512);
        let text = format!("preferred={preferred} is smaller than {least}");
        found.server(Rule::BlockSizePreferredLowerBound, "preferred", text);
    }
    // The maximum is at least the preferred size.
    if maximum < preferred {
        let text = format!("maximum={maximum} is smaller than preferred={preferred}");
        found.server(Rule::BlockSizeMaxLowerBound, "maximum", text);
    }
}

/// What binds the size of the export and the constraints, when the later one of the two comes.
fn check_size_and_constraints(info: &Info, option: &Outstanding, found: &mut Findings) {
    let export = option.items.iter().find_map(|item| match item {
        Info::Export { size, .. } => Some(*size),
        _ => None,
    });
    let (Some(size), Some(constraints)) = (export, option.block_size()) else { return };
    if !matches!(info, Info::Export { .. } | Info::BlockSize { .. }) {
        return;
    }
    let BlockSize { minimum, preferred, maximum } = constraints;
    let came = |field, other| if matches!(info, Info::Export { .. }) { field } else { other };
    // "Size constraints": the export's size should be a multiple of the minimum.
    if minimum.is_power_of_two() && size % u64::from(minimum) != 0 {
        let text = format!("size={size} is not a multiple of minimum={minimum}");
        found.server(Rule::ExportSizeMultipleOfMin, came("size", "minimum"), text);
    }
    // The maximum should be at least 2^20, if the export is that large.
    if size >= 1 << 20 && maximum < 1 << 20 && maximum >= preferred {
        let text = format!("maximum={maximum} is smaller than 1048576");
        found.server(Rule::BlockSizeMax1Mib, came("", "maximum"), text);
    }
}
