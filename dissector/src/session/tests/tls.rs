//! Where TLS begins and ends.

use protocol::values::OptionType;

use super::dsl::*;
use crate::session::{ProblemKind, Tls, Unreadable};

const STARTTLS: OptionType = OptionType::STARTTLS;
const LIST: OptionType = OptionType::LIST;
const ABORT: OptionType = OptionType::ABORT;

cases! {
    a_client_upgrades_at_once: ClientUpgradesOnAck by Client,
        |t| { t.haggle().agree(STARTTLS).beside_tls(Client, true); },
        |t| { t.haggle().agree(STARTTLS).tls().agree(LIST); };
    no_plaintext_follows: NoPlaintextAfterAck by Server,
        |t| { t.haggle().agree(STARTTLS).beside_tls(Server, true); },
        |t| { t.haggle().c(opt(LIST)).s(ack(LIST)).agree(STARTTLS); };
    nor_later: NoPlaintextAfterAck by Client,
        |t| { t.haggle().agree(STARTTLS).tls().agree(LIST).beside_tls(Client, false); },
        |t| { t.haggle().agree(STARTTLS).tls().agree(LIST).tls_failed(Client).close(Client); };
    who_hangs_up_closes_tls: HardDisconnectTlsFirst by Server,
        |t| { t.haggle().agree(STARTTLS).tls().enter(SIZE, FLAGS, 1).unclosed(Server); },
        |t| { t.haggle().agree(STARTTLS).tls().enter(SIZE, FLAGS, 1).close(Server); };
    a_farewell_closes_enough: HardDisconnectTlsFirst by Client,
        |t| { t.haggle().agree(STARTTLS).tls().c(opt(LIST)).unclosed(Client); },
        |t| { t.haggle().agree(STARTTLS).tls().enter(SIZE, FLAGS, 1).c(disc(1))
            .unclosed(Server).unclosed(Client); };
}

#[test]
fn a_side_that_answers_a_close_may_do_so_without_tls() {
    let mut talk = Talk::new();
    talk.haggle().agree(STARTTLS).tls().c(opt(LIST)).close(Client).unclosed(Server);
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.problems().last().map(|problem| problem.kind), Some(ProblemKind::Tls));
    let mut talk = Talk::new();
    talk.haggle().agree(STARTTLS).tls().agree(ABORT).unclosed(Server).unclosed(Client);
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert!(talk.problems().is_empty());
}

#[test]
fn a_client_whose_tls_failed_may_leave_without_a_word() {
    let mut talk = Talk::new();
    talk.haggle().agree(STARTTLS).tls().agree(LIST).tls_failed(Server).close(Client).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.problems().len(), 1);
}

#[test]
fn plaintext_behind_starttls_is_an_option_too_early() {
    let mut talk = Talk::new();
    talk.haggle().c(opt(STARTTLS)).c(opt(LIST)).s(ack(STARTTLS));
    assert_eq!(talk.broken(), ["option-one-outstanding"]);
}

#[test]
fn the_bytes_behind_the_hand_over_are_counted() {
    let mut talk = Talk::new();
    talk.haggle().c(opt(STARTTLS));
    let mut bytes = ack(STARTTLS).to_bytes();
    bytes.extend([22, 3, 3, 0, 1]);
    assert_eq!(talk.session.received(Server, 0, &bytes[..10]), 0);
    assert_eq!(talk.session.received(Server, 0, &bytes[10..]), 5);
    assert!(talk.session.expects_tls());
}

#[test]
fn a_direction_that_can_not_be_opened_stays_lost() {
    let mut talk = Talk::new();
    talk.haggle().agree(STARTTLS);
    talk.session.tls(0, Tls::Unreadable(Server, Unreadable::Damaged("lost".to_owned())));
    talk.session.tls(0, Tls::Opened);
    talk.c(opt(LIST)).s(ack(LIST)).close(Client).finish();
    let listed = talk.messages().filter(|seen| seen.tls).count();
    assert_eq!((listed, talk.broken().len(), talk.problems().len()), (1, 0, 2));
}
