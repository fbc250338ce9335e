//! What is made up is a script, whatever the server offers, and the same for the same seed.

use std::path::Path;

use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, TransmissionFlags as T};

use super::common::common;
use super::facts::Facts;
use super::hunt::{script_of, tree};
use super::session::Setting;
use super::writer::write;
use crate::run::survey::{Capabilities, Route, TlsMode};

const MIB: u64 = 1 << 20;

/// A server that has everything.
fn rich() -> Capabilities {
    let flags = T::HAS_FLAGS
        | T::SEND_FLUSH
        | T::SEND_FUA
        | T::SEND_TRIM
        | T::SEND_WRITE_ZEROES
        | T::SEND_FAST_ZERO
        | T::SEND_DF
        | T::SEND_CACHE
        | T::CAN_MULTI_CONN;
    let options = [
        OptionType::LIST,
        OptionType::INFO,
        OptionType::GO,
        OptionType::STRUCTURED_REPLY,
        OptionType::EXTENDED_HEADERS,
        OptionType::LIST_META_CONTEXT,
        OptionType::SET_META_CONTEXT,
    ];
    Capabilities {
        fixed: true,
        route: Some(Route::Go),
        export: "disk".to_owned(),
        size: 16 * MIB,
        flags,
        extended_flags: flags | T::BLOCK_STATUS_PAYLOAD,
        block_size: Some((1, 4096, 32 << 20)),
        refuses_unknown: true,
        listed: Some(vec![WireString::from("disk")]),
        contexts: ["base:allocation", "qemu:allocation-depth"].map(WireString::from).to_vec(),
        options: options.map(|option| (option, ReplyType::ACK)).into(),
        ..Capabilities::default()
    }
}

fn facts(found: Capabilities, setting: Setting) -> Facts {
    Facts {
        setting,
        found,
        owned: true,
        described: true,
        content: true,
        places: 20,
        write: true,
        hazard: true,
    }
}

/// Servers of many shapes.
fn shapes() -> Vec<Facts> {
    let plain = Capabilities {
        fixed: true,
        export: "disk".to_owned(),
        size: 1_000_001,
        flags: T::HAS_FLAGS,
        ..Capabilities::default()
    };
    let blocks = Capabilities { block_size: Some((4096, 65_536, MIB as u32)), ..rich() };
    let tiny = Capabilities { size: 1, ..rich() };
    let empty = Capabilities { size: 0, ..rich() };
    let large = Capabilities { size: 9 << 30, ..rich() };
    let read_only = Capabilities { flags: rich().flags | T::READ_ONLY, ..rich() };
    let oldstyle = Capabilities { fixed: false, oldstyle: true, ..plain.clone() };
    let single = Capabilities { flags: T(rich().flags.0 & !T::CAN_MULTI_CONN.0), ..rich() };
    let mut bitmap = rich();
    bitmap.contexts.push(WireString::from("qemu:dirty-bitmap:bm0"));
    let selective = Capabilities { tls: TlsMode::Selective, ..rich() };
    let forced = Capabilities { tls: TlsMode::Forced, ..rich() };
    let foreign = Facts {
        owned: false,
        described: false,
        write: false,
        hazard: false,
        ..facts(rich(), Setting::Default)
    };
    let narrow = Facts { places: 1, ..facts(rich(), Setting::Default) };
    vec![
        narrow,
        facts(rich(), Setting::Default),
        facts(plain, Setting::OddSize),
        facts(blocks, Setting::Block4096),
        facts(tiny, Setting::Default),
        facts(empty, Setting::Default),
        facts(large, Setting::Large),
        facts(read_only, Setting::ReadOnly),
        facts(oldstyle, Setting::Oldstyle),
        facts(single, Setting::Default),
        facts(bitmap, Setting::Bitmap),
        facts(rich(), Setting::Errors),
        facts(selective.clone(), Setting::TlsSelective),
        facts(selective, Setting::TlsOnly),
        facts(forced, Setting::TlsForced),
        foreign,
    ]
}

#[test]
fn what_is_made_up_is_a_script_whatever_the_server_offers() {
    for facts in shapes() {
        for number in 0..30 {
            let session = tree(7, number, false).current();
            if let Some(text) = write(&session, &facts, "one") {
                let read = script_of(&text, &format!("explored-7-{number}"), Path::new(""));
                assert!(read.is_ok(), "{:?}: {read:?}\n{text}", facts.setting);
            }
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_sessions() {
    let session = |seed, number| tree(seed, number, false).current();
    assert_eq!(session(7, 3), session(7, 3));
    assert_ne!(session(7, 3), session(7, 4));
    assert_ne!(session(7, 3), session(8, 3));
}

/// What a person reads of it, in the form that is saved.
#[test]
fn a_session_reads_like_a_scenario() {
    let facts = facts(rich(), Setting::Default);
    let text = |number| {
        let session = tree(7, number, false).current();
        let text = write(&session, &facts, "clients do what nobody wrote down").unwrap();
        script_of(&text, &format!("explored-7-{number}"), Path::new(""))
            .unwrap()
            .source
            .text
            .clone()
    };
    insta::assert_snapshot!("lawful_session", text(0));
    insta::assert_snapshot!("session_with_slips", text(1));
}

/// What a slip writes, a read that is in flight may meet.
#[test]
fn a_read_beside_a_slip_is_open_where_that_writes() {
    use crate::explore::session::{Act, Anchor, Ask, Kind, Length, Slip, Spot, Unit};
    let facts = facts(rich(), Setting::Default);
    let spot = Spot { anchor: Anchor::Start, shift: 0, unit: Unit::Large };
    let read = Ask::Read { spot, length: Length::Pages(16), whole: false, fua: false };
    let mut session = tree(7, 0, false).current();
    session.setting = Setting::Default;
    session.acts = vec![
        Act::Ask { on: 0, ask: read, held: true },
        Act::Slip(Slip::DiscBeside { kind: Kind::Write }),
    ];
    let text = write(&session, &facts, "one").unwrap();
    let last = text.lines().rev().find(|line| line.contains("place(1)")).unwrap();
    assert!(last.contains("place(1)*4096 ++ any*512 ++ "), "{text}");
}

/// Whatever is not allowed is not in it.
#[test]
fn nothing_is_written_where_that_is_not_allowed() {
    let facts = Facts {
        owned: false,
        described: false,
        write: false,
        hazard: false,
        ..facts(rich(), Setting::Default)
    };
    for number in 0..100 {
        let session = tree(9, number, false).current();
        let Some(text) = write(&session, &facts, "one") else { continue };
        for word in ["NBD_CMD_WRITE", "NBD_CMD_TRIM", "hazard:"] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

/// What either server falls short in counts for both, whichever is named first.
#[test]
fn sessions_for_two_servers_keep_within_what_either_serves() {
    let less = |served| Capabilities {
        served: Some(served),
        leaves_at_unknown: true,
        unserved: true,
        ..rich()
    };
    let pairs = [
        (rich(), less(64 << 10), 64 << 10),
        (less(64 << 10), rich(), 64 << 10),
        (less(MIB), less(4 << 10), 4 << 10),
        (less(4 << 10), less(MIB), 4 << 10),
    ];
    for (a, b, most) in pairs {
        let [a, b] = [a, b].map(|found| facts(found, Setting::Default));
        let both = common(&a, &b).unwrap();
        assert_eq!(both.maximum(), most);
        assert!(both.found.leaves_at_unknown && both.found.unserved);
    }
    let all = common(&facts(rich(), Setting::Default), &facts(rich(), Setting::Default)).unwrap();
    assert_eq!(all.found.served, None);
    assert!(!all.found.leaves_at_unknown && !all.found.unserved);
}
