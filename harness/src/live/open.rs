//! Opening an interface.

use std::collections::BTreeSet;
use std::time::Duration;

use dissector::capture::LinkType;
use pcap::{Active, Capture, Device, Error, Precision};
use protocol::values::DEFAULT_PORT;

/// Packets are handed over after this time at the latest: the kernel fills a block of them
/// meanwhile, which loses far fewer than one at a time.
pub(super) const DELAY: Duration = Duration::from_millis(50);
/// What the kernel may keep for us, in bytes.
const BUFFER: i32 = 64 << 20;
/// The largest packet, in bytes: more than segmentation offload makes.
const LARGEST: i32 = 256 << 10;
/// Whether times come in nanoseconds; elsewhere libpcap may not have them and would not say so.
pub(super) const NANOSECONDS: bool = cfg!(target_os = "linux");

/// Why an interface can't be listened to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none of this name.
    #[error("no interface `{wanted}`{}", hint(.there))]
    NoSuchInterface {
        /// The name.
        wanted: String,
        /// Those there are.
        there: Vec<String>,
    },
    /// We may not.
    #[error(
        "no permission to capture on `{interface}`\n\
         hint: run it as root, or let it by `setcap cap_net_raw+ep $(command -v nbdcheck)`"
    )]
    NoPermission {
        /// The interface.
        interface: String,
    },
    /// Something else.
    #[error("can't capture on `{interface}`: {reason}")]
    Other {
        /// The interface.
        interface: String,
        /// What libpcap says.
        reason: String,
    },
}

fn hint(there: &[String]) -> String {
    match there {
        [] => String::new(),
        there => format!("\nhint: there are {}", there.join(", ")),
    }
}

pub(super) fn open(
    interface: &str,
    ports: &[u16],
) -> Result<(Capture<Active>, LinkType), OpenError> {
    let open = || {
        let mut capture = Capture::from_device(interface)?
            .promisc(false)
            .snaplen(LARGEST)
            .buffer_size(BUFFER)
            .timeout(DELAY.as_millis() as i32)
            .precision(if NANOSECONDS { Precision::Nano } else { Precision::Micro })
            .open()?
            .setnonblock()?;
        let plain = filter(ports);
        if capture.filter(&tagged(&plain), true).is_err() {
            capture.filter(&plain, true)?;
        }
        let link = link_type(capture.get_datalink().0);
        Ok((capture, link))
    };
    open().map_err(|error| explain(interface, error))
}

/// In the language of `pcap-filter(7)`. Of a packet in fragments only the first has the ports, and
/// where an IPv6 header is followed by others only we find them.
fn filter(ports: &[u16]) -> String {
    let ports: BTreeSet<u16> = ports.iter().copied().chain([DEFAULT_PORT]).collect();
    let ports: Vec<_> = ports.iter().map(|port| format!("tcp port {port}")).collect();
    // Not TCP, UDP or ICMPv6.
    let others = "(ip6[6] != 6 and ip6[6] != 17 and ip6[6] != 58)";
    format!("({} or ip[6:2] & 0x1fff != 0 or {others})", ports.join(" or "))
}

/// The same behind up to two VLAN tags, where the link type can have any.
fn tagged(plain: &str) -> String {
    format!("{plain} or (vlan and ({plain} or (vlan and {plain})))")
}

/// Programs and files number raw IP differently.
fn link_type(number: i32) -> LinkType {
    match LinkType(u32::try_from(number).unwrap_or(u32::MAX)) {
        LinkType::RAW_OLD => LinkType::RAW,
        other => other,
    }
}

/// libpcap tells its reasons in words only, and the lack of a permission before that of an
/// interface.
fn explain(interface: &str, error: Error) -> OpenError {
    let devices = Device::list().unwrap_or_default();
    let there: Vec<_> = devices.into_iter().map(|device| device.name).collect();
    let wanted = interface.escape_default().to_string();
    if !there.is_empty() && !there.iter().any(|name| name == interface) {
        return OpenError::NoSuchInterface { wanted, there };
    }
    let reason = match error {
        Error::PcapError(reason) => reason,
        other => other.to_string(),
    };
    let denied = ["permission", "not permitted"];
    if denied.iter().any(|words| reason.to_lowercase().contains(words)) {
        return OpenError::NoPermission { interface: wanted };
    }
    OpenError::Other { interface: wanted, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_takes_each_port_once_and_fragments() {
        assert_eq!(
            filter(&[10810, 10809, 10810]),
            "(tcp port 10809 or tcp port 10810 or ip[6:2] & 0x1fff != 0 or \
             (ip6[6] != 6 and ip6[6] != 17 and ip6[6] != 58))"
        );
    }

    /// What of the packets of this Ethernet frame the filter lets through.
    fn passes(frame: &[u8]) -> bool {
        let capture = Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        let program = capture.compile(&tagged(&filter(&[])), true).unwrap();
        program.filter(frame)
    }

    fn frame(between: &[u8], ip: &[u8]) -> Vec<u8> {
        [&[2; 12], between, ip, &[0; 40]].concat()
    }

    #[test]
    fn the_filter_looks_behind_tags_and_leaves_extension_headers_to_us() {
        let tcp = |port: u16| {
            let mut ip = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            ip.extend([port.to_be_bytes(), [0x30, 0x39]].concat());
            ip
        };
        for tags in [&[8, 0][..], &[0x81, 0, 0, 5, 8, 0], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]]
        {
            assert!(passes(&frame(tags, &tcp(10809))), "{tags:x?}");
            assert!(!passes(&frame(tags, &tcp(80))), "{tags:x?}");
        }
        let ip6 = |next: u8| [&[0x60, 0, 0, 0, 0, 40, next, 64][..], &[0; 32]].concat();
        for (next, passed) in [(0, true), (60, true), (44, true), (6, false), (17, false)] {
            assert_eq!(passes(&frame(&[0x86, 0xdd], &ip6(next))), passed, "{next}");
        }
    }

    #[test]
    fn names_the_interfaces_there_are() {
        let error = OpenError::NoSuchInterface {
            wanted: "eth7".to_owned(),
            there: vec!["eth0".to_owned(), "lo".to_owned()],
        };
        assert_eq!(error.to_string(), "no interface `eth7`\nhint: there are eth0, lo");
    }

    #[test]
    fn tells_a_missing_permission_from_other_reasons() {
        let name = match Device::list().unwrap_or_default().into_iter().next() {
            Some(device) => device.name,
            None => return,
        };
        let explain = |text: &str| explain(&name, Error::PcapError(text.to_owned()));
        let denied = "You don't have permission to perform this capture on that device";
        assert!(matches!(explain(denied), OpenError::NoPermission { .. }));
        assert!(matches!(explain("That device is not up"), OpenError::Other { .. }));
    }
}
