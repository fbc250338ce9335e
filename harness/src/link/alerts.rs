//! TLS alerts on a connection that is not inside TLS.

use bytes::{Buf as _, BytesMut};

/// Takes whole alerts off the front of what came in the place of a TLS handshake.
pub(super) fn skip_alerts(inbox: &mut BytesMut) -> Vec<String> {
    const ALERT: u8 = 21;
    let mut notes = Vec::new();
    while inbox.len() >= 5 && inbox[0] == ALERT && inbox[1] == 3 {
        let length = usize::from(u16::from_be_bytes([inbox[3], inbox[4]]));
        if inbox.len() < 5 + length {
            break;
        }
        let what = inbox[5..5 + length].get(1).copied();
        notes.push(match what {
            Some(number) if length == 2 => format!("-- a TLS alert: {number}"),
            _ => "-- a TLS alert".to_owned(),
        });
        inbox.advance(5 + length);
    }
    notes
}
