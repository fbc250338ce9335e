//! The survey against the reference server and small servers that do one thing in their own way.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::run::target::{Access, Target};

const LIMIT: Duration = Duration::from_secs(5);

fn whom(address: &Address) -> Whom<'_> {
    Whom { address, security: None, insists: false }
}

#[tokio::test]
async fn the_reference_server_has_all_but_what_hangs_on_its_setup() {
    let target = Target::Reference { fault: None };
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
