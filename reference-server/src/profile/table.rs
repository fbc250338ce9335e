//! The table: each release says what is new in it since the one before.

use std::fmt;

use protocol::values::{DEFAULT_MAXIMUM_PAYLOAD, ErrorCode};

use super::release::Profile;
use crate::behaviour::{Behaviour, CheckOrder, ContextIds, FlagChecks, LargeWrite, MultiConn};
use crate::habits::{Alignment, Habits};

/// The names of a release.
macro_rules! named {
    ($version:literal, $rest:expr) => {
        Profile {
            version: $version,
            name: concat!("qemu-", $version),
            peer: concat!("self@", $version),
            ..$rest
        }
    };
}

/// By release.
const PROFILES: [Profile; 10] = [V2_6, V2_8, V2_10, V2_11, V2_12, V3_0, V4_2, V5_2, V7_1, V8_2];

const V2_6: Profile = named!(
    "2.6",
    Profile {
        version: "",
        name: "",
        peer: "",
        changes: v2_6,
        client_changes: client_2_6,
        psk: false,
        tls_over_unix: false,
    }
);

const V2_8: Profile = named!("2.8", Profile { changes: v2_8, client_changes: client_2_8, ..V2_6 });

const V2_10: Profile =
    named!("2.10", Profile { changes: v2_10, client_changes: |h| h.go = true, ..V2_8 });

const V2_11: Profile =
    named!("2.11", Profile { changes: v2_11, client_changes: client_2_11, ..V2_10 });

const V2_12: Profile =
    named!("2.12", Profile { changes: v2_12, client_changes: client_2_12, ..V2_11 });

const V3_0: Profile =
    named!("3.0", Profile { changes: v3_0, client_changes: |_| {}, psk: true, ..V2_12 });

const V4_2: Profile = named!("4.2", Profile { changes: v4_2, client_changes: client_4_2, ..V3_0 });

const V5_2: Profile = named!("5.2", Profile { changes: v5_2, client_changes: client_5_2, ..V4_2 });

const V7_1: Profile =
    named!("7.1", Profile { changes: v7_1, client_changes: |_| {}, tls_over_unix: true, ..V5_2 });

const V8_2: Profile = named!("8.2", Profile { changes: v8_2, client_changes: client_8_2, ..V7_1 });

fn v2_6(b: &mut Behaviour) {
    b.features.no_zeroes = false;
    b.features.info_and_go = false;
    b.features.block_size = false;
    b.features.structured_reply = false;
    b.features.extended_headers = false;
    b.features.meta_context = false;
    b.features.base_allocation = false;
    b.features.dirty_bitmaps = false;
    b.features.allocation_depth = false;
    b.features.status_payload = false;
    b.features.write_zeroes = false;
    b.features.fast_zero = false;
    b.features.cache = false;
    b.features.df = false;
    b.features.multi_conn = false;
    b.name_limit = 256;
    b.error_texts = false;
    b.info_name = false;
    b.tells_unasked = true;
    b.export_last = true;
    b.serves_unaligned = true;
    b.structured_once = true;
    b.past_end = ErrorCode::EINVAL;
    b.read_only = Some(ErrorCode::EPERM);
    b.flag_checks = FlagChecks::Nothing;
    b.check_order = CheckOrder::FlagsRangeAccess;
    b.large_write = LargeWrite::FailsAndCloses;
    b.simple_success = true;
    b.holes_in_reads = false;
    b.one_extent = true;
    b.zeroes_are_holes = false;
    b.trim_on_read_only = true;
    b.multi_conn = MultiConn::Never;
    b.size_unit = 512;
    b.oldstyle_without_name = true;
}

fn v2_8(b: &mut Behaviour) {
    b.features.no_zeroes = true;
    b.features.write_zeroes = true;
    b.error_texts = true;
    b.past_end = ErrorCode::ENOSPC;
    b.zeroes_past_end = Some(ErrorCode::EINVAL);
    b.flag_checks = FlagChecks::All;
}

fn v2_10(b: &mut Behaviour) {
    b.features.info_and_go = true;
    b.features.block_size = true;
    b.least_minimum = 512;
    b.info_insists = true;
    b.info_name_limit = Some(1000);
    b.names_are_utf8 = false;
    b.names_end_at_nul = true;
    b.skips_any_option = true;
}

fn v2_11(b: &mut Behaviour) {
    b.features.structured_reply = true;
    b.features.df = true;
    b.info_name = true;
    b.zeroes_past_end = None;
    b.check_order = CheckOrder::AccessFlagsRange;
    b.info_name_limit = None;
    b.skips_any_option = false;
}

fn v2_12(b: &mut Behaviour) {
    b.features.meta_context = true;
    b.features.base_allocation = true;
    b.past_end = ErrorCode::EINVAL;
    b.read_only = Some(ErrorCode::EINVAL);
    b.check_order = CheckOrder::FlagsAccessRange;
    b.holes_in_reads = true;
    b.passes_long_queries = true;
    b.context_ids = ContextIds::ByKind(1);
}

fn v3_0(b: &mut Behaviour) {
    // CACHE is the command of 3.0 on the bit and with the answer of 3.1.
    b.features.dirty_bitmaps = true;
    b.features.cache = true;
    b.limits_cache = true;
    b.minds_starttls_data = true;
    b.bitmaps_run_over = true;
}

fn v4_2(b: &mut Behaviour) {
    b.features.fast_zero = true;
    b.features.multi_conn = true;
    b.name_limit = 4096;
    b.least_minimum = 1;
    b.info_insists = false;
    b.one_extent = false;
    b.trim_on_read_only = false;
    b.multi_conn = MultiConn::SharedReadOnly;
    b.oldstyle_without_name = false;
}

fn v5_2(b: &mut Behaviour) {
    b.features.allocation_depth = true;
    b.context_ids = ContextIds::ByKind(2);
    b.bitmaps_run_over = false;
    b.multi_conn = MultiConn::ReadOnly;
}

fn v7_1(b: &mut Behaviour) {
    b.lists_contexts_early = true;
    b.names_end_at_nul = false;
    b.answers_bad_magic = true;
    b.zeroes_are_holes = true;
    b.multi_conn = MultiConn::Shared;
}

fn v8_2(b: &mut Behaviour) {
    b.features.extended_headers = true;
    b.features.status_payload = true;
    b.info_tells_payload = true;
    b.extended_once = true;
    b.awaits_extended = true;
}

fn client_2_6(h: &mut Habits) {
    h.no_zeroes = false;
    h.go = false;
    h.structured_reply = false;
    h.extended_headers = false;
    h.wants = &[];
    h.takes_any_refusal = false;
    h.lists_before_export_name = true;
    h.largest = 1_044_480;
    h.largest_effect = u64::from(DEFAULT_MAXIMUM_PAYLOAD);
    h.largest_zeroes = u64::from(DEFAULT_MAXIMUM_PAYLOAD);
    h.alignment = Alignment::Ignore;
    h.write_zeroes = false;
    h.writes_zeroes = true;
    h.fast_zero = false;
    h.one_extent = true;
    h.last_flushes = 2;
}

fn client_2_8(h: &mut Habits) {
    h.no_zeroes = true;
    h.largest = DEFAULT_MAXIMUM_PAYLOAD;
    h.write_zeroes = true;
}

fn client_2_11(h: &mut Habits) {
    h.structured_reply = true;
    h.minds_read_only = true;
}

fn client_2_12(h: &mut Habits) {
    h.base_allocation = true;
    h.alignment = Alignment::Widen;
}

fn client_4_2(h: &mut Habits) {
    h.takes_any_refusal = true;
    h.fast_zero = true;
}

fn client_5_2(h: &mut Habits) {
    h.largest_effect = u64::from(u32::MAX);
    h.last_flushes = 1;
}

fn client_8_2(h: &mut Habits) {
    h.extended_headers = true;
    h.largest_effect = u64::MAX;
}

impl Profile {
    /// How the release behaves as a server.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        let mut behaviour = Behaviour::DEFAULT;
        let last = Self::ALL.iter().position(|profile| profile == self).unwrap_or_default();
        for profile in &Self::ALL[..=last] {
            (profile.changes)(&mut behaviour);
        }
        behaviour
    }

    /// How the release behaves as a client.
    #[must_use]
    pub fn habits(&self) -> Habits {
        let mut habits = Habits::DEFAULT;
        let last = Self::ALL.iter().position(|profile| profile == self).unwrap_or_default();
        for profile in &Self::ALL[..=last] {
            (profile.client_changes)(&mut habits);
        }
        habits
    }

    /// All profiles, the oldest release first.
    pub const ALL: &'static [Self] = &PROFILES;

    /// The profile of a release: `qemu-2.12` or `2.12`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(name: &str) -> Result<&'static Self, UnknownProfile> {
        let version = name.strip_prefix("qemu-").unwrap_or(name);
        let found = Self::ALL.iter().find(|profile| profile.version == version);
        found.ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProfile(String);

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no profile `{}`\nhint: there are ", self.0)?;
        for (index, profile) in Profile::ALL.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}`{profile}`")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownProfile {}
