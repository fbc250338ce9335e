//! The clients of every release against the servers of every release, in process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use harness::matrix::Mark;
use harness::matrix::interop::Interop;
use harness::roomy;
use harness::run::clients::ClientTarget;
use harness::run::target::Target;
use reference_server::{Fault, Profile};

/// What a pair agrees on by the rules of negotiation: each party has it or not.
fn agreed(client: &Profile, server: &Profile) -> &'static str {
    let (habits, features) = (client.habits(), server.behaviour().features);
    let context = habits.base_allocation && features.base_allocation;
    if habits.extended_headers && features.extended_headers {
        "extended+c"
    } else if habits.structured_reply && features.structured_reply {
        if context { "structured+c" } else { "structured" }
    } else {
        "simple"
    }
}

#[test]
fn data_comes_through_between_all_releases() {
    let interop = Interop {
        servers: Profile::ALL.iter().map(Target::Profile).collect(),
        clients: Profile::ALL.iter().map(ClientTarget::Profile).collect(),
        jobs: 8,
        limit: Duration::from_secs(30),
    };
    let grid = roomy::runtime().unwrap().block_on(interop.run());
    assert_eq!(grid.rows.len(), 10);
    for (client, row) in Profile::ALL.iter().zip(&grid.rows) {
        assert_eq!(row.cells.len(), 10);
        for (server, cell) in Profile::ALL.iter().zip(&row.cells) {
            assert_eq!(cell.mark, Some(Mark::Pass), "{client} to {server}: {cell:?}");
            assert_eq!(
                cell.text,
                format!("{} tls", agreed(client, server)),
                "{client} to {server}"
            );
            assert_eq!(cell.note, None, "{client} to {server}");
        }
    }
}

/// What is wrong with a server is seen: data that is lost, and a read that is cut.
#[test]
fn data_that_does_not_come_through_fails_the_pair() {
    let fault = |fault| Target::faulty(fault);
    let interop = Interop {
        servers: vec![fault(Fault::WriteNotStored), fault(Fault::ReadShort)],
        clients: vec![ClientTarget::Reference],
        jobs: 2,
        limit: Duration::from_secs(5),
    };
    let grid = roomy::runtime().unwrap().block_on(interop.run());
    for (cell, words) in grid.rows[0].cells.iter().zip(["the server holds", "read fails"]) {
        assert_eq!(cell.mark, Some(Mark::Fail), "{cell:?}");
        assert!(cell.note.as_deref().unwrap_or_default().contains(words), "{cell:?}");
    }
}

/// A server that does not close at NBD_CMD_DISC breaks a MUST, and no data is lost by it.
#[test]
fn a_server_that_stays_open_is_a_warning() {
    let interop = Interop {
        servers: vec![Target::faulty(Fault::DiscIgnored)],
        clients: vec![ClientTarget::Reference, ClientTarget::Profile(&Profile::ALL[0])],
        jobs: 2,
        limit: Duration::from_secs(20),
    };
    let grid = roomy::runtime().unwrap().block_on(interop.run());
    for row in &grid.rows {
        let [cell] = row.cells.as_slice() else { panic!("{row:?}") };
        assert_eq!(cell.mark, Some(Mark::Warn), "{cell:?}");
        assert!(cell.text.ends_with("! tls"), "{cell:?}");
        let note = cell.note.as_deref().unwrap_or_default();
        assert_eq!(note, "server: disc-server-closes: the server does not hang up at NBD_CMD_DISC");
    }
}
