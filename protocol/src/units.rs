//! Sizes and times as people write them, in scripts, filters, peer files and on the command line:
//! `64KiB`, `10ms`.

use std::time::Duration;

/// The units of sizes, with what they are in bytes.
pub const SIZES: [(&str, u64); 4] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
/// The units of times, with what they are in nanoseconds.
pub const TIMES: [(&str, u64); 4] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a number of bytes, or one with `KiB`, `MiB`, `GiB` or `TiB`")]
pub struct NotASize(pub String);

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as `10s` or `500ms`")]
pub struct NotATime(pub String);

/// What a unit of one of the tables stands for.
#[must_use]
pub fn scale(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

/// Reads `4096`, `64KiB`, `64k`, `1MiB`, `1M`, `2GiB`, `1TiB`: bytes, and powers of 1024. Offsets of
/// files are signed, and so are those of many clients: a size is less than 2^63.
///
/// # Errors
/// The text is no such number, or the number is too large.
pub fn size(text: &str) -> Result<u64, NotASize> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" | "b" | "B" => Some(1),
        unit => SIZES.iter().find_map(|(name, scale)| {
            let is_it = unit.eq_ignore_ascii_case(name)
                || name.get(..1).is_some_and(|letter| unit.eq_ignore_ascii_case(letter));
            is_it.then_some(*scale)
        }),
    };
    let size = scale.and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
    size.filter(|size| i64::try_from(*size).is_ok()).ok_or_else(|| NotASize(text.to_owned()))
}

/// Reads `10s`, `500ms`, `20us`, `7ns`.
///
/// # Errors
/// The text is no such time, or it is longer than 584 years.
pub fn time(text: &str) -> Result<Duration, NotATime> {
    let (number, unit) = split(text);
    let nanoseconds =
        scale(unit, &TIMES).and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
    nanoseconds.map(Duration::from_nanos).ok_or_else(|| NotATime(text.to_owned()))
}

/// A number and what comes after it.
fn split(text: &str) -> (&str, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("512", 512), ("7b", 7), ("64k", 65_536), ("1MiB", 1 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "MiB", "1x", "-1", "1.5M", "16MB", "16 MiB", "99999999T"] {
            assert_eq!(size(text), Err(NotASize(text.to_owned())), "{text}");
        }
        assert_eq!(size("9223372036854775807"), Ok(i64::MAX.unsigned_abs()));
        assert!(size("9223372036854775808").is_err());
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("20us"), Ok(Duration::from_micros(20)));
        for text in ["", "s", "10", "-1s", "1.5s", "10 s", "10min", "99999999999s"] {
            assert_eq!(time(text), Err(NotATime(text.to_owned())), "{text}");
        }
    }
}
