//! Version profiles: the server and the client as a release of qemu has them.
//!
//! A profile of a server offers what `qemu-nbd` of that release offers, and answers as it answers,
//! as far as that is lawful or breaks no more than a recommendation. It does not imitate what breaks
//! a MUST, nor crashes. Where a client must be ready for more than a profile shows:
//!
//! | release | what it does, and the profile does not |
//! | --- | --- |
//! | 2.6 | hangs up at `NBD_OPT_ABORT` without the ACK |
//! | 2.10 | tells an empty `NBD_INFO_NAME` (the profile tells none) |
//! | 2.10 to 3.0 | with a size that is no multiple of 512: tells extents off its own minimum block size |
//! | 3.0 | advertises CACHE on the bit of `CAN_MULTI_CONN`, and answers it with data under structured replies (the profile has the right bit and answer); leaves bitmaps out of a listing without queries |
//! | 4.2 | refuses FAST_ZERO on qcow2 |
//! | 2.8 to 5.1 | refuse to serve nothing (size 0) |
//! | 5.2 to 7.0 | advertise `CAN_MULTI_CONN` on read-only exports, and greet one client at a time (the profile greets all) |
//! | all | hang up when a read under structured replies meets an error, and at `NBD_CMD_DISC` with reads on their way; refuse `NBD_OPT_ABORT` before TLS where TLS is a must |
//!
//! A profile of a client asks for what `qemu-img` of that release asks for, in its order, and makes
//! do without as that release does. It does not leave without `NBD_OPT_ABORT`, as 2.6 does, and
//! waits for the reply, which none does.

mod table;

use std::fmt;

use crate::config::Features;
use crate::manners::Manners;

/// A release of qemu, as a server and as a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    version: &'static str,
    name: &'static str,
    peer: &'static str,
    features: Features,
    manners: Manners,
    psk: bool,
    tls_over_unix: bool,
    habits: Habits,
}

/// What a release does as a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// Answers the handshake flag NO_ZEROES.
    pub no_zeroes: bool,
    /// Uses `NBD_OPT_GO`; without it, or where the server does not know it, looks for the name in
    /// the list of exports and then uses `NBD_OPT_EXPORT_NAME`.
    pub go: bool,
    /// Asks for structured replies.
    pub structured_reply: bool,
    /// Asks for extended headers, and then for structured replies only if they were refused.
    pub extended_headers: bool,
    /// Selects `base:allocation`, once replies can carry it.
    pub base_allocation: bool,
    /// Goes on without structured replies and contexts whatever the refusal; else only where the
    /// server does not know the option.
    pub takes_any_refusal: bool,
    /// The largest payload of a request, in bytes.
    pub largest: u32,
    /// The largest effect of a request without payload, in bytes.
    pub largest_effect: u64,
    /// Keeps to the server's minimum block size, by reading and writing more than is asked for.
    pub aligns: bool,
    /// Uses `NBD_CMD_WRITE_ZEROES` where it is offered; else writes zeroes.
    pub write_zeroes: bool,
    /// Knows `NBD_CMD_FLAG_FAST_ZERO`.
    pub fast_zero: bool,
    /// Refuses to open a read-only export for writing; else it sends the write.
    pub minds_read_only: bool,
    /// How many times it sends `NBD_CMD_FLUSH` before it leaves, where that is offered.
    pub last_flushes: u8,
}

impl Profile {
    /// All profiles, the oldest release first.
    pub const ALL: &'static [Self] = &table::PROFILES;

    /// The profile of a release: `qemu-2.12` or `2.12`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(name: &str) -> Result<&'static Self, UnknownProfile> {
        let version = name.strip_prefix("qemu-").unwrap_or(name);
        let found = Self::ALL.iter().find(|profile| profile.version == version);
        found.ok_or_else(|| UnknownProfile(name.to_owned()))
    }

    /// The release: `2.12`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The name: `qemu-2.12`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name as a peer: `self@2.12`.
    #[must_use]
    pub fn peer(&self) -> &'static str {
        self.peer
    }

    /// What the release offers as a server.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// How it answers.
    #[must_use]
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Whether it can do TLS with pre-shared keys.
    #[must_use]
    pub fn has_psk(&self) -> bool {
        self.psk
    }

    /// Whether it can do TLS over a Unix socket.
    #[must_use]
    pub fn has_tls_over_unix(&self) -> bool {
        self.tls_over_unix
    }

    /// What it does as a client.
    #[must_use]
    pub fn habits(&self) -> &Habits {
        &self.habits
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_name_and_by_its_version() {
        for profile in Profile::ALL {
            assert_eq!(Profile::find(profile.name()), Ok(profile));
            assert_eq!(Profile::find(profile.version()), Ok(profile));
        }
        insta::assert_snapshot!(Profile::find("2.7").unwrap_err(), @"
        there is no profile `2.7`
        hint: there are `qemu-2.6`, `qemu-2.8`, `qemu-2.10`, `qemu-2.11`, `qemu-2.12`, `qemu-3.0`, `qemu-4.2`, `qemu-5.2`, `qemu-7.1`, `qemu-8.2`
        ");
    }

    /// The features that a release has and the next has no more.
    #[test]
    fn no_release_takes_a_feature_back() {
        for pair in Profile::ALL.windows(2) {
            let [old, new] = pair else { continue };
            let (f, g) = (&old.features, &new.features);
            let kept = [
                (f.no_zeroes, g.no_zeroes),
                (f.info_and_go, g.info_and_go),
                (f.structured_reply, g.structured_reply),
                (f.meta_context, g.meta_context),
                (f.dirty_bitmaps, g.dirty_bitmaps),
                (f.allocation_depth, g.allocation_depth),
                (f.write_zeroes, g.write_zeroes),
                (f.fast_zero, g.fast_zero),
                (f.cache, g.cache),
                (f.extended_headers, g.extended_headers),
                (old.psk, new.psk),
                (old.tls_over_unix, new.tls_over_unix),
            ];
            assert!(kept.iter().all(|(old, new)| *new || !*old), "{old} to {new}");
        }
    }
}
