//! The survey against the reference server and small servers that do one thing in their own way.

mod small;

use std::time::Duration;

use protocol::values::OptionType;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::kept::Kept;
use super::*;
use crate::peer::Address;
use crate::run::target::{Access, Target};
use small::{Act, Device, Small};

const LIMIT: Duration = Duration::from_secs(5);

fn whom(address: &Address) -> Whom<'_> {
    Whom { address, security: None, insists: false }
}

#[tokio::test]
async fn the_reference_server_has_all_but_what_hangs_on_its_setup() {
    let target = Target::reference();
    let instance = target.start("default", Access::default()).await.unwrap();
    let ask = Ask::offers(instance.export.as_deref(), LIMIT);
    let found = survey(whom(&instance.address), &ask, "default").await.unwrap();
    assert_eq!(found.level.whole, None);
    assert_eq!(found.level.aside.map(|version| version.to_string()).as_deref(), Some("8.2"));
    assert!(found.offers.iter().all(|offer| offer.setup || offer.offered == Some(true)));
    let found = found.capabilities;
    let [export] = found.exports.as_slice() else { panic!("{:?}", found.exports) };
    assert_eq!((export.size, export.name.as_bytes()), (Some(16 << 20), b"disk".as_slice()));
    assert!(found.unknown.is_empty(), "{:?}", found.unknown);
    instance.stop().await;
}

/// Greets, and then answers any LIST with exports without end.
async fn endless(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(b"NBDMAGICIHAVEOPT\0\x01").await;
        let mut option = [0; 4 + 16];
        if stream.read_exact(&mut option).await.is_err() {
            continue;
        }
        let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        reply.extend([0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0x10, 0x04, 0, 0, 0x10, 0]);
        reply.resize(reply.len() + 4096, b'a');
        while stream.write_all(&reply).await.is_ok() {}
    }
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let server = tokio::spawn(endless(listener));
    let found = probe(whom(&address), &Ask::offers(None, LIMIT)).await.unwrap();
    assert_eq!(found.listed, None);
    let kept: usize = found.lines.iter().map(String::len).sum();
    assert!(kept <= 4 << 20, "{kept}");
    server.abort();
}

const LIST: u32 = 3;
const GO: u32 = 7;
const BRIEF: Duration = Duration::from_millis(300);

async fn found(small: Small, write: bool) -> Result<Capabilities, Trouble> {
    let (address, server) = small.start().await;
    let ask = Ask { export: None, limit: BRIEF, strange: true, forced: false, places: true, write };
    let found = probe(whom(&address), &ask).await;
    server.abort();
    found
}

#[tokio::test]
async fn an_option_that_is_answered_badly_spoils_no_other() {
    let closes = |option| if option == LIST { Act::Close } else { Act::Lawfully };
    let silent = |option| if option == LIST { Act::Silently } else { Act::Lawfully };
    for (option, why) in [
        (closes as fn(u32) -> Act, "no answer, the server closed the connection"),
        (silent, "no answer within 0.3 s"),
    ] {
        let found = found(Small { option, ..Small::default() }, false).await.unwrap();
        assert_eq!(found.why_unknown(OptionType::LIST), Some(why));
        assert!(found.listed.is_none() && found.offers(OptionType::GO));
        assert_eq!((found.size, found.route), (small::SIZE as u64, Some(Route::Go)));
        assert_eq!(found.capacity, Some(capacity::CAPACITY));
        assert!(found.reads.known().is_some());
    }
}

#[tokio::test]
async fn without_go_the_export_is_entered_by_its_name() {
    let unsupported =
        |option: u32| if option >= 6 { Act::Reply((1 << 31) | 1) } else { Act::Lawfully };
    let closes = |option: u32| if option > 3 { Act::Close } else { Act::Lawfully };
    for option in [unsupported as fn(u32) -> Act, closes] {
        let found = found(Small { option, ..Small::default() }, false).await.unwrap();
        assert_eq!((found.size, found.route), (small::SIZE as u64, Some(Route::ExportName)));
        assert!(found.reads.known().is_some());
    }
}

#[tokio::test]
async fn a_refused_export_quotes_the_refusal() {
    let option = |option| if option == GO { Act::Reply((1 << 31) | 6) } else { Act::Lawfully };
    let trouble = found(Small { option, ..Small::default() }, false).await.unwrap_err();
    insta::assert_snapshot!(trouble.to_string());
}

#[tokio::test]
async fn devices_are_known_by_what_they_give_back() {
    for (device, shown) in [
        (Device::Keeps, "Yes"),
        (Device::Null, "Nothing"),
        (Device::Private, "Private"),
        (Device::Changes, "Changes"),
    ] {
        let found = found(Small { device, ..Small::default() }, true).await.unwrap();
        let kept = format!("{:?}", found.kept);
        assert!(kept.starts_with(shown), "{kept}");
        assert!(found.reads.known().is_some() && found.writes.known().is_some());
    }
    let (eio, enospc, einval) = (5, 28, 22);
    let device = Device::Fails(eio);
    let failing = found(Small { device, ..Small::default() }, true).await.unwrap();
    assert!(matches!(failing.reads, Fact::Refused(_)), "{:?}", failing.reads);
    let full = Small { device: Device::Full(enospc), ..Small::default() };
    let full = found(full, true).await.unwrap();
    assert!(matches!(full.writes, Fact::Refused(_)), "{:?}", full.writes);
    // Nothing is written where that is not allowed.
    let idle = found(Small { device: Device::Full(enospc), ..Small::default() }, false).await;
    assert_eq!(idle.unwrap().writes, Fact::default());
    // An error that no device has is for scenarios to name.
    let wrong = found(Small { device: Device::Fails(einval), ..Small::default() }, true).await;
    assert!(matches!(wrong.unwrap().reads, Fact::Unknown(_)));
}

#[tokio::test]
async fn connections_count_that_can_be_used_at_once() {
    for places in [1, 2, 3] {
        let found = found(Small { places, ..Small::default() }, true).await.unwrap();
        assert_eq!(found.capacity, Some(places));
        let known = matches!(found.kept, Kept::Yes);
        assert!(known, "{places} {:?}", found.kept);
    }
}

#[tokio::test]
async fn a_server_of_one_session_is_told_from_one_that_dies() {
    let once = found(Small { sessions: 1, ..Small::default() }, false).await.unwrap_err();
    assert!(matches!(once, Trouble::OneSession { .. }), "{once}");
    let dies = found(Small { sessions: 12, ..Small::default() }, false).await.unwrap_err();
    assert!(matches!(dies, Trouble::Gone { .. }), "{dies}");
}

#[tokio::test]
async fn who_says_nothing_is_known_after_one_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let began = std::time::Instant::now();
    let ask =
        Ask { export: None, limit: BRIEF, strange: true, forced: false, places: true, write: true };
    let trouble = probe(whom(&address), &ask).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NoGreeting { .. }), "{trouble}");
    assert!(began.elapsed() < 5 * BRIEF, "{:?}", began.elapsed());
    drop(listener);
    let trouble = probe(whom(&address), &ask).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unreachable(_)), "{trouble}");
}
