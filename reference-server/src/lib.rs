//! The reference server and client.
