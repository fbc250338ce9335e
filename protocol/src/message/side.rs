//! The two sides of a connection.

use std::ops::{Index, IndexMut};

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The party that connected.
    Client,
    /// The party that serves exports.
    Server,
}

impl Side {
    /// The other party.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// `client` or `server`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// `C` or `S`, as in the specification's examples.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Client => 'C',
            Self::Server => 'S',
        }
    }
}

/// One of something for each side: `both[side]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Both<T>([T; 2]);

impl<T> Both<T> {
    /// That of the client and that of the server.
    pub const fn new(client: T, server: T) -> Self {
        Self([client, server])
    }

    /// That of the client and that of the server.
    pub const fn as_array(&self) -> &[T; 2] {
        &self.0
    }

    /// That of the client, then that of the server.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// That of the client, then that of the server.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
}

impl<T> Index<Side> for Both<T> {
    type Output = T;

    #[expect(clippy::indexing_slicing, reason = "there are two sides")]
    fn index(&self, side: Side) -> &T {
        &self.0[side as usize]
    }
}

impl<T> IndexMut<Side> for Both<T> {
    #[expect(clippy::indexing_slicing, reason = "there are two sides")]
    fn index_mut(&mut self, side: Side) -> &mut T {
        &mut self.0[side as usize]
    }
}
