//! Cookies of a connection: a script names them, the wire sees unlike-looking 64-bit values, which
//! catch a peer that keeps only half of one or counts by itself.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::message::Cookie;

use super::matching::Labels;

/// The cookies of one connection.
#[derive(Debug, Default)]
pub struct Cookies {
    labels: HashMap<String, Cookie>,
    made: u64,
    open: Vec<Cookie>,
}

impl Cookies {
    /// The cookie of a label; the same each time.
    pub fn bind(&mut self, script: &str, conn: &str, label: &str) -> Cookie {
        let cookie = Cookie(mix(script, conn, label));
        *self.labels.entry(label.to_owned()).or_insert(cookie)
    }

    /// A cookie that no label names.
    pub fn fresh(&mut self, script: &str, conn: &str) -> Cookie {
        self.made += 1;
        Cookie(mix(script, conn, &format!("#{}", self.made)))
    }

    /// A request with this cookie was sent.
    pub fn sent(&mut self, cookie: Cookie) {
        self.open.push(cookie);
    }

    /// The script has seen the whole reply to this cookie.
    pub fn answered(&mut self, cookie: Cookie) {
        if let Some(index) = self.open.iter().position(|open| *open == cookie) {
            self.open.remove(index);
        }
    }

    /// How many requests the script has not seen the reply to.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The cookie of the one open request; `None` if there are none or several.
    #[must_use]
    pub fn only_open(&self) -> Option<Cookie> {
        match self.open.as_slice() {
            [cookie] => Some(*cookie),
            _ => None,
        }
    }
}

impl Labels for Cookies {
    fn cookie(&self, label: &str) -> Option<Cookie> {
        self.labels.get(label).copied()
    }

    fn label(&self, cookie: Cookie) -> Option<&str> {
        self.labels.iter().find(|(_, known)| **known == cookie).map(|(label, _)| label.as_str())
    }
}

/// Depends on its arguments alone, so that a failure can be run again.
fn mix(script: &str, conn: &str, label: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (script, conn, label).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_its_cookie_and_labels_differ() {
        let mut cookies = Cookies::default();
        let a = cookies.bind("s", "", "a");
        assert_eq!(cookies.bind("s", "", "a"), a);
        assert_ne!(cookies.bind("s", "", "b"), a);
        assert_ne!(a.0 >> 32, 0);
        assert_eq!(cookies.label(a), Some("a"));
    }
}
