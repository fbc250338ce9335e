//! Files of pre-shared keys, as psktool writes them: lines of `user:hexkey`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::credentials::{BadKeys, BadTls, KEY_LIMIT, USER_LIMIT, read};

/// Users and their keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PskKeys {
    path: PathBuf,
    keys: BTreeMap<String, Vec<u8>>,
}

/// Names only: keys are nobody's business.
impl fmt::Debug for PskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl PskKeys {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or is no file of keys.
    pub fn read(path: &Path) -> Result<Self, BadTls> {
        let bytes = read(&path.to_owned())?;
        Ok(Self::parse(path, &String::from_utf8_lossy(&bytes))?)
    }

    /// Reads a text; `path` is for messages. Empty lines and those that begin with `#` are passed
    /// over.
    ///
    /// # Errors
    /// A line is no `user:hexkey`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, BadKeys> {
        let mut keys = BTreeMap::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let bad = || BadKeys::Line { path: path.to_owned(), line };
            let (user, hex) = text.split_once(':').ok_or_else(bad)?;
            let key = decode(hex).filter(|key| !key.is_empty()).ok_or_else(bad)?;
            if user.is_empty() || user.contains('\0') {
                return Err(bad());
            }
            if user.len() > USER_LIMIT || key.len() > KEY_LIMIT {
                return Err(BadKeys::TooLong { path: path.to_owned(), line });
            }
            keys.insert(user.to_owned(), key);
        }
        Ok(Self { path: path.to_owned(), keys })
    }

    /// A user's key.
    ///
    /// # Errors
    /// There is nobody of that name.
    pub fn key_of(&self, user: &str) -> Result<&[u8], BadKeys> {
        self.keys
            .get(user)
            .map(Vec::as_slice)
            .ok_or_else(|| BadKeys::Unknown { path: self.path.clone(), user: user.to_owned() })
    }

    /// The users, in alphabetical order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }
}

fn decode(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PskKeys, BadKeys> {
        PskKeys::parse(Path::new("keys.psk"), text)
    }

    #[test]
    fn reads_what_psktool_writes() {
        let keys = parse("alice:00ff10\n# nobody\n\nbob:AB\n").unwrap();
        assert_eq!(keys.users().collect::<Vec<_>>(), ["alice", "bob"]);
        assert_eq!(keys.key_of("alice"), Ok(&[0, 0xff, 0x10][..]));
        assert_eq!(keys.key_of("bob"), Ok(&[0xab][..]));
        assert_eq!(format!("{keys:?}"), r#"{"alice", "bob"}"#);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("alice:00\nbob"), @"`keys.psk`, line 2: expected `user:hexkey`, the key in pairs of hexadecimal digits");
        insta::assert_snapshot!(error("alice:0"), @"`keys.psk`, line 1: expected `user:hexkey`, the key in pairs of hexadecimal digits");
        insta::assert_snapshot!(error(&format!("{}:00", "a".repeat(200))), @"`keys.psk`, line 1: a name has at most 128 bytes and a key at most 256");
        insta::assert_snapshot!(parse("").unwrap().key_of("eve").unwrap_err(), @"`keys.psk` has no key for the user `eve`");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
