//! Times for people.

use std::fmt;

use protocol::digits::decimal;

/// Nanoseconds since 1970 as a date and time of day, in UTC: `2023-11-14 22:13:20.001000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Howard Hinnant's civil_from_days, for days after 1970: eras of 400 years that begin on
        // the 1st of March.
        let day = days + 719_468;
        let (era, of_era) = (day / 146_097, day % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day_of_month:02} {:02}:{:02}:{:02}.{:06}",
            second / 3600,
            second / 60 % 60,
            second % 60,
            self.0 / 1000 % 1_000_000
        )
    }
}

/// A stretch of time with its unit, rounded to a tenth: `12.3 ms`.
pub(crate) struct Stretch(pub(crate) u64);

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];
        let Self(nanoseconds) = *self;
        let tenths =
            |scale: u64| (u128::from(nanoseconds) * 10 + u128::from(scale / 2)) / u128::from(scale);
        let whole =
            |scale: u64| (u128::from(nanoseconds) + u128::from(scale / 2)) / u128::from(scale);
        if nanoseconds < 1_000 {
            return f.pad(&format!("{nanoseconds} ns"));
        }
        // What rounds to a thousand of a unit is one of the next.
        let fits = UNITS.iter().find(|(scale, _)| whole(*scale) < 1_000);
        let (scale, unit) = *fits.unwrap_or(&UNITS[2]);
        let text = match tenths(scale) {
            tenths @ 0..1_000 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
            _ => format!("{} {unit}", whole(scale)),
        };
        f.pad(&text)
    }
}

/// A stretch of time in seconds, rounded to microseconds: `0.000123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Seconds {
    /// Appends what `Display` writes.
    pub(crate) fn append(self, out: &mut Vec<u8>) {
        let microseconds = self.0.saturating_add(500) / 1000;
        decimal(out, microseconds / 1_000_000);
        // A digit more, in whose place the point comes.
        let point = out.len();
        decimal(out, 1_000_000 + microseconds % 1_000_000);
        if let Some(first) = out.get_mut(point) {
            *first = b'.';
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0.saturating_add(500) / 1000;
        write!(f, "{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let utc = |seconds: u64| Utc(seconds * 1_000_000_000).to_string();
        assert_eq!(utc(0), "1970-01-01 00:00:00.000000");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00.000000");
        assert_eq!(utc(1_700_000_000), "2023-11-14 22:13:20.000000");
        assert_eq!(utc(4_102_444_799), "2099-12-31 23:59:59.000000");
        assert_eq!(Utc(1_234_567).to_string(), "1970-01-01 00:00:00.001234");
        let _ = Utc(u64::MAX).to_string();
    }

    // A latency was told as 4.6 ms in one place and as 4.5 ms in another.
    #[test]
    fn stretches_are_rounded() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (1_049, "1.0 µs"),
            (1_050, "1.1 µs"),
            (99_949, "99.9 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (4_590_000, "4.6 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.0 s"),
            (90_000_000_000, "90.0 s"),
        ] {
            assert_eq!(Stretch(nanoseconds).to_string(), text);
        }
        assert!(Stretch(u64::MAX).to_string().ends_with(" s"));
        assert_eq!(Seconds(1_499).to_string(), "0.000001");
        assert_eq!(Seconds(1_500).to_string(), "0.000002");
        assert_eq!(Seconds(1_999_999_500).to_string(), "2.000000");
        for seconds in [0, 499, 1_500, 999_999_499, 999_999_500, 61_234_567_890, u64::MAX] {
            let mut text = Vec::new();
            Seconds(seconds).append(&mut text);
            assert_eq!(String::from_utf8(text).unwrap(), Seconds(seconds).to_string());
        }
    }
}
