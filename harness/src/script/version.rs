//! Versions of qemu as text.

use std::fmt;
use std::str::FromStr;

use super::ast::Version;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.major, self.minor))
    }
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version such as `2.10`")]
pub struct NotAVersion(pub String);

impl FromStr for Version {
    type Err = NotAVersion;

    /// Takes `2.10`; what follows a second dot, as in `10.0.2`, is ignored if it is a number.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let wrong = || NotAVersion(text.to_owned());
        let number = |part: Option<&str>| {
            part.filter(|part| part.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|part| part.parse::<u16>().ok())
        };
        let mut parts = text.split('.');
        let major = number(parts.next()).ok_or_else(wrong)?;
        let minor = number(parts.next()).ok_or_else(wrong)?;
        match (parts.next(), parts.next()) {
            (None, None) => {}
            (patch, None) if number(patch).is_some() => {}
            _ => return Err(wrong()),
        }
        Ok(Self { major, minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_not_by_text() {
        let [old, new]: [Version; 2] = ["2.9", "2.10"].map(|text| text.parse().unwrap());
        assert!(old < new);
        assert_eq!(new.to_string(), "2.10");
        assert_eq!("10.0.2".parse(), Ok(Version { major: 10, minor: 0 }));
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "2", "2.", ".1", "2.x", "2.+1", "2.1.x", "1.2.3.4", "99999.1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
