//! `1 message`, `2 messages`.

use std::fmt;

/// A count of things whose plural takes an s.
#[derive(Debug, Clone, Copy)]
pub struct Plural(pub u64, pub &'static str);

impl Plural {
    pub(crate) const fn are(self) -> &'static str {
        if self.0 == 1 { "is" } else { "are" }
    }

    pub(crate) const fn were(self) -> &'static str {
        if self.0 == 1 { "was" } else { "were" }
    }

    pub(crate) const fn have(self) -> &'static str {
        if self.0 == 1 { "has" } else { "have" }
    }
}

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, thing) = self;
        write!(f, "{count} {thing}{}", if *count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_takes_no_s() {
        let told = |count| {
            let bytes = Plural(count, "byte");
            format!("{bytes} {} {} {}", bytes.are(), bytes.were(), bytes.have())
        };
        assert_eq!(told(0), "0 bytes are were have");
        assert_eq!(told(1), "1 byte is was has");
        assert_eq!(told(2), "2 bytes are were have");
    }
}
