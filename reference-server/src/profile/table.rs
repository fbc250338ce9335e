//! The table: each release says what is new in it since the one before.

use std::fmt;

use protocol::values::{DEFAULT_MAXIMUM_PAYLOAD, ErrorCode};

use super::release::{Habits, Profile};
use crate::config::Features;
use crate::manners::{Manners, MultiConn};

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
        features: Features {
            no_zeroes: false,
            info_and_go: false,
            block_size: false,
            structured_reply: false,
            extended_headers: false,
            meta_context: false,
            base_allocation: false,
            dirty_bitmaps: false,
            allocation_depth: false,
            status_payload: false,
            write_zeroes: false,
            fast_zero: false,
            cache: false,
            df: false,
            multi_conn: false,
            ..Features::EVERYTHING
        },
        manners: Manners {
            name_limit: 256,
            error_texts: false,
            info_name: false,
            tells_unasked: true,
            export_last: true,
            serves_unaligned: true,
            structured_once: true,
            past_end: ErrorCode::EINVAL,
            read_only: ErrorCode::EPERM,
            ignores_flags: true,
            large_write_closes: true,
            simple_success: true,
            holes_in_reads: false,
            one_extent: true,
            zeroes_are_holes: false,
            trim_on_read_only: true,
            multi_conn: MultiConn::Never,
            size_unit: 512,
            oldstyle_without_name: true,
            ..Manners::DEFAULT
        },
        psk: false,
        tls_over_unix: false,
        habits: Habits {
            no_zeroes: false,
            go: false,
            structured_reply: false,
            extended_headers: false,
            base_allocation: false,
            takes_any_refusal: false,
            largest: 1_044_480,
            largest_effect: DEFAULT_MAXIMUM_PAYLOAD as u64,
            aligns: false,
            write_zeroes: false,
            fast_zero: false,
            minds_read_only: false,
            last_flushes: 2,
        },
    }
);

const V2_8: Profile = named!(
    "2.8",
    Profile {
        features: Features { no_zeroes: true, write_zeroes: true, ..V2_6.features },
        manners: Manners {
            error_texts: true,
            past_end: ErrorCode::ENOSPC,
            ignores_flags: false,
            ..V2_6.manners
        },
        habits: Habits {
            no_zeroes: true,
            largest: DEFAULT_MAXIMUM_PAYLOAD,
            write_zeroes: true,
            ..V2_6.habits
        },
        ..V2_6
    }
);

const V2_10: Profile = named!(
    "2.10",
    Profile {
        features: Features { info_and_go: true, block_size: true, ..V2_8.features },
        manners: Manners { least_minimum: 512, info_insists: true, ..V2_8.manners },
        habits: Habits { go: true, ..V2_8.habits },
        ..V2_8
    }
);

const V2_11: Profile = named!(
    "2.11",
    Profile {
        features: Features { structured_reply: true, df: true, ..V2_10.features },
        manners: Manners { info_name: true, ..V2_10.manners },
        habits: Habits { structured_reply: true, minds_read_only: true, ..V2_10.habits },
        ..V2_10
    }
);

const V2_12: Profile = named!(
    "2.12",
    Profile {
        features: Features { meta_context: true, base_allocation: true, ..V2_11.features },
        manners: Manners {
            past_end: ErrorCode::EINVAL,
            read_only: ErrorCode::EINVAL,
            holes_in_reads: true,
            ..V2_11.manners
        },
        habits: Habits { base_allocation: true, aligns: true, ..V2_11.habits },
        ..V2_11
    }
);

const V3_0: Profile = named!(
    "3.0",
    Profile {
        // CACHE is the command of 3.0 on the bit and with the answer of 3.1.
        features: Features { dirty_bitmaps: true, cache: true, ..V2_12.features },
        manners: Manners { bitmaps_run_over: true, ..V2_12.manners },
        psk: true,
        ..V2_12
    }
);

const V4_2: Profile = named!(
    "4.2",
    Profile {
        features: Features { fast_zero: true, multi_conn: true, ..V3_0.features },
        manners: Manners {
            name_limit: 4096,
            least_minimum: 1,
            info_insists: false,
            one_extent: false,
            trim_on_read_only: false,
            multi_conn: MultiConn::SharedReadOnly,
            oldstyle_without_name: false,
            ..V3_0.manners
        },
        habits: Habits { takes_any_refusal: true, fast_zero: true, ..V3_0.habits },
        ..V3_0
    }
);

const V5_2: Profile = named!(
    "5.2",
    Profile {
        features: Features { allocation_depth: true, ..V4_2.features },
        manners: Manners {
            bitmaps_run_over: false,
            multi_conn: MultiConn::ReadOnly,
            ..V4_2.manners
        },
        habits: Habits { largest_effect: u32::MAX as u64, last_flushes: 1, ..V4_2.habits },
        ..V4_2
    }
);

const V7_1: Profile = named!(
    "7.1",
    Profile {
        manners: Manners {
            lists_contexts_early: true,
            zeroes_are_holes: true,
            multi_conn: MultiConn::Shared,
            ..V5_2.manners
        },
        tls_over_unix: true,
        ..V5_2
    }
);

const V8_2: Profile = named!(
    "8.2",
    Profile {
        features: Features { extended_headers: true, status_payload: true, ..V7_1.features },
        habits: Habits { extended_headers: true, largest_effect: u64::MAX, ..V7_1.habits },
        ..V7_1
    }
);

impl Profile {
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
