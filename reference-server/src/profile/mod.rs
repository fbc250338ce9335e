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
//! | 5.2 and later | tell `qemu:allocation-depth` only if they were started with `-A` (the profile always does) |
//! | 5.2 to 7.0 | advertise `CAN_MULTI_CONN` on read-only exports, and greet one client at a time (the profile greets all) |
//! | all | hang up when a read under structured replies meets an error, and at `NBD_CMD_DISC` with reads on their way; refuse `NBD_OPT_ABORT` before TLS where TLS is a must |
//!
//! A profile of a client asks for what `qemu-img` of that release asks for, in its order, and makes
//! do without as that release does. It does not leave without `NBD_OPT_ABORT`, as 2.6 does, and
//! waits for the reply, which none does.

mod release;
mod table;

pub use release::Profile;
pub use table::UnknownProfile;

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
            let (f, g) = (old.behaviour().features, new.behaviour().features);
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
                (old.has_psk(), new.has_psk()),
                (old.has_tls_over_unix(), new.has_tls_over_unix()),
            ];
            assert!(kept.iter().all(|(old, new)| *new || !*old), "{old} to {new}");
        }
    }
}
