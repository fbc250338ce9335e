//! Who listens on a port. Between our choice of a free one and the server's taking it another's
//! server may come, and its greeting must not pass for that of ours.

use std::fs;

use rustix::process::Pid;

/// Whether one of the processes listens on a TCP port over IPv4; `None` where that can't be seen.
pub(super) fn is_held_by(port: u16, processes: &[Pid]) -> Option<bool> {
    let sockets = listening(&fs::read_to_string("/proc/net/tcp").ok()?, port);
    if sockets.is_empty() || processes.is_empty() {
        return None;
    }
    let mut seen = false;
    for process in processes {
        // It may have ended, or be another user's by now.
        let Ok(open) = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())) else {
            continue;
        };
        seen = true;
        let targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        if targets
            .into_iter()
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == &**socket))
        {
            return Some(true);
        }
    }
    seen.then_some(false)
}

/// The sockets that listen on a port, as links in `/proc` name them, of the text of
/// `/proc/net/tcp`.
fn listening(text: &str, port: u16) -> Vec<String> {
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (_, here) = fields.nth(1)?.rsplit_once(':')?;
        // After the other end's address; 0A is LISTEN.
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let wanted = u16::from_str_radix(here, 16) == Ok(port) && state == "0A";
        wanted.then(|| format!("socket:[{inode}]"))
    };
    text.lines().skip(1).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:2A3A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0\n   1: 0100007F:2A3A 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4343 1 0000000000000000 20 4 30 10 -1\n   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0000000000000000 100 0 0 10 0\n";

    #[test]
    fn finds_the_socket_that_listens_and_not_its_connections() {
        assert_eq!(listening(TABLE, 0x2a3a), ["socket:[4242]"]);
        assert_eq!(listening(TABLE, 22), ["socket:[17]"]);
        assert_eq!(listening(TABLE, 23), Vec::<String>::new());
        assert_eq!(listening("head\n 0: 0100007F:2A3A 0", 0x2a3a), Vec::<String>::new());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tells_our_listener_from_anothers() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let ours = rustix::process::getpid();
        let theirs = Pid::from_child(&other);
        assert_eq!(is_held_by(port, &[theirs, ours]), Some(true));
        assert_eq!(is_held_by(port, &[theirs]), Some(false));
        assert_eq!(is_held_by(port, &[]), None);
        drop(listener);
        // A child of another test has a copy of it until it executes its program.
        assert_ne!(is_held_by(port, &[ours]), Some(true));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
