//! Answers to NBD_CMD_BLOCK_STATUS.

use protocol::message::Message;
use protocol::values::{ChunkType, Command, CommandFlags};

use super::dsl::*;

const NAME: &[&str] = &["x-any:thing"];

/// A query of 4096 bytes at 0, and a chunk that answers it for context 1.
fn answer(talk: &mut Talk, list: &[(u64, u64)]) {
    query(talk, CommandFlags::EMPTY).s(status(1, DONE, 1, list));
}

fn query(talk: &mut Talk, flags: CommandFlags) -> &mut Talk {
    talk.contexts(NAME, 1).c(cmd_with(Command::BLOCK_STATUS, flags, 1, 0, 4096))
}

fn raw(data: &[u8]) -> Message {
    chunk_raw(ChunkType::BLOCK_STATUS, DONE, 1, data)
}

fn alternating(count: u64) -> Message {
    let list: Vec<_> = (0..count).map(|n| (1, n % 2)).collect();
    status(1, DONE, 1, &list)
}

/// A query of 2 MiB with a minimum of 1.
fn large(talk: &mut Talk) -> &mut Talk {
    talk.haggle()
        .agree(protocol::values::OptionType::STRUCTURED_REPLY)
        .select("disk", NAME)
        .enter(1 << 30, FLAGS, 1)
        .c(cmd(Command::BLOCK_STATUS, 1, 0, 1 << 29))
}

fn aligned(talk: &mut Talk, list: &[(u64, u64)]) {
    talk.contexts(NAME, 4096)
        .c(cmd(Command::BLOCK_STATUS, 1, 0, 65536))
        .s(status(1, DONE, 1, list));
}

fn meaning(talk: &mut Talk, name: &str, bits: u64) {
    talk.contexts(&[name], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 4096)).s(status(
        1,
        DONE,
        1,
        &[(4096, bits)],
    ));
}

cases! {
    a_status_chunk_is_made_of_whole_extents: StatusLength by Server,
        |t| { query(t, CommandFlags::EMPTY).s(raw(&[0, 0, 0, 1, 0, 0, 16, 0])); },
        |t| { query(t, CommandFlags::EMPTY).s(raw(&[0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0])); };
    a_status_chunk_has_an_extent: StatusAtLeastOne by Server,
        |t| { query(t, CommandFlags::EMPTY).s(raw(&[0, 0, 0, 1])); },
        |t| { query(t, CommandFlags::EMPTY).s(raw(&[0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0])); };
    an_extent_is_not_empty: StatusExtentNonzero by Server,
        |t| { answer(t, &[(512, 0), (0, 1)]); },
        |t| { answer(t, &[(512, 0), (512, 1)]); };
    only_the_last_extent_may_reach_the_end: StatusSumBeforeLast by Server,
        |t| { answer(t, &[(4096, 0), (4096, 1)]); },
        |t| { answer(t, &[(2048, 0), (65536, 1)]); };
    a_chunk_has_at_most_2_to_the_20_extents: StatusExtentLimit by Server,
        |t| { large(t).s(alternating((1 << 20) + 1)); t.events.retain(no_size); },
        |t| { large(t).s(alternating(1 << 20)); t.events.retain(no_size); };
    req_one_gives_one_extent: StatusReqOneSingle by Server,
        |t| { query(t, CommandFlags::REQ_ONE).s(status(1, DONE, 1, &[(512, 0), (512, 1)])); },
        |t| { query(t, CommandFlags::REQ_ONE).s(status(1, DONE, 1, &[(4096, 0)])); };
    req_one_gives_no_more_than_was_asked: StatusReqOneLength by Server,
        |t| { query(t, CommandFlags::REQ_ONE).s(status(1, DONE, 1, &[(8192, 0)])); },
        |t| { query(t, CommandFlags::EMPTY).s(status(1, DONE, 1, &[(8192, 0)])); };
    each_context_is_answered: StatusOnePerContext by Server,
        |t| { t.contexts(&["x-a:b", "x-a:c"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 4096))
            .s(status(1, DONE, 2, &[(4096, 0)])); },
        |t| { t.contexts(&["x-a:b", "x-a:c"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 4096))
            .s(status(1, MORE, 2, &[(4096, 0)])).s(status(1, DONE, 1, &[(512, 0)])); };
    each_context_is_answered_once: StatusOnePerContext by Server,
        |t| { query(t, CommandFlags::EMPTY).s(status(1, MORE, 1, &[(4096, 0)]))
            .s(status(1, DONE, 1, &[(4096, 0)])); },
        |t| { query(t, CommandFlags::EMPTY).s(status(1, MORE, 1, &[(4096, 0)])).s(none(1)); };
    no_other_context_is_answered: StatusOnePerContext by Server,
        |t| { query(t, CommandFlags::EMPTY).s(status(1, MORE, 7, &[(4096, 0)])); },
        |t| { query(t, CommandFlags::EMPTY).s(status(1, MORE, 1, &[(4096, 0)])); };
    extents_end_with_the_export: StatusWithinExport by Server,
        |t| { answer(t, &[(SIZE + 512, 0)]); },
        |t| { answer(t, &[(SIZE, 0)]); };
    neighbours_differ: StatusNeighboursDiffer by Server,
        |t| { answer(t, &[(512, 3), (512, 3)]); },
        |t| { answer(t, &[(512, 3), (512, 0), (512, 3)]); };
    extents_are_multiples_of_512: StatusMultipleOf512 by Server,
        |t| { answer(t, &[(100, 0), (3996, 1)]); },
        |t| { t.contexts(NAME, 1).c(cmd(Command::BLOCK_STATUS, 1, 100, 1000))
            .s(status(1, DONE, 1, &[(412, 0), (588, 1)])); };
    extents_are_multiples_of_the_minimum: StatusMultipleOfMin by Server,
        |t| { aligned(t, &[(512, 0), (65024, 1)]); },
        |t| { aligned(t, &[(4096, 0), (4096, 1)]); };
    base_allocation_has_two_bits: BaseReservedBits by Server,
        |t| { meaning(t, "base:allocation", 4); }, |t| { meaning(t, "base:allocation", 3); };
    a_dirty_bitmap_has_one_bit: QemuDirtyBitmapStatus by Server,
        |t| { meaning(t, "qemu:dirty-bitmap:b", 2); }, |t| { meaning(t, "qemu:dirty-bitmap:b", 1); };
}

/// Drops what 2^20 odd extents break besides.
fn no_size(event: &crate::session::Event) -> bool {
    !matches!(event, crate::session::Event::Violation(v)
        if v.requirement.id == "status-extents-multiple-of-512")
}
