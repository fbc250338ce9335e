//! Everything that `nbdcheck probe` tells of a server, as data.

use std::time::Duration;

use super::milestones::{Level, Offer, level, offers};
use super::probe::{Capabilities, Whom, probe};

/// What a server offers.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What it was asked for on the way to transmission and beside it.
    pub capabilities: Capabilities,
    /// The features of qemu's versions.
    pub offers: Vec<Offer>,
    /// The version of qemu that it is level with.
    pub level: Level,
}

/// How many waits a survey may take in all.
const WAITS: u32 = 12;

/// Asks a server for everything, each wait at most `limit`.
///
/// # Errors
/// The server can't be reached, says nothing, or refuses the export.
pub async fn survey(
    whom: Whom<'_>,
    export: Option<&str>,
    configuration: &str,
    limit: Duration,
) -> Result<Survey, String> {
    let asking = async {
        let capabilities = probe(whom, export, limit).await?;
        let offers = offers([(configuration, &capabilities)]);
        let level = level(&offers);
        Ok(Survey { capabilities, offers, level })
    };
    let all = limit.saturating_mul(WAITS);
    match tokio::time::timeout(all, asking).await {
        Ok(found) => found,
        Err(_) => Err(format!("the server has not answered everything within {all:?}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::run::target::{Access, Target};

    fn whom(address: &crate::peer::Address) -> Whom<'_> {
        Whom { address, security: None, insists: false }
    }

    #[tokio::test]
    async fn the_reference_server_has_all_but_what_hangs_on_its_setup() {
        let target = Target::Reference { fault: None };
        let instance = target.start("default", Access::default()).await.unwrap();
        let limit = Duration::from_secs(5);
        let export = instance.export.as_deref();
        let found = survey(whom(&instance.address), export, "default", limit).await.unwrap();
        assert_eq!(found.level.whole, None);
        assert_eq!(found.level.aside.map(|version| version.to_string()).as_deref(), Some("8.2"));
        assert!(found.offers.iter().all(|offer| offer.setup || offer.offered == Some(true)));
        let [export] = found.capabilities.exports.as_slice() else {
            panic!("{:?}", found.capabilities.exports)
        };
        assert_eq!((export.size, export.name.as_bytes()), (Some(16 << 20), b"disk".as_slice()));
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
        let limit = Duration::from_secs(5);
        let found = survey(whom(&address), None, "default", limit).await.unwrap();
        assert_eq!(found.capabilities.listed, None);
        let kept: usize = found.capabilities.lines.iter().map(String::len).sum();
        assert!(kept <= 64 << 20, "{kept}");
        server.abort();
    }
}
