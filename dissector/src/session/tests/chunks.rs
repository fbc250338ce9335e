//! Structured replies.

use protocol::message::{ChunkBody, Message};
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode};

use super::dsl::*;

const EIO: ErrorCode = ErrorCode::EIO;
const EOVERFLOW: ErrorCode = ErrorCode::EOVERFLOW;

/// A read of 2048 bytes at 1024, with cookie 1, and what it is answered.
fn answers(talk: &mut Talk, chunks: Vec<Message>) -> &mut Talk {
    talk.structured().c(read(1, 1024, 2048));
    chunks.into_iter().fold(talk, |talk, chunk| talk.s(chunk))
}

/// The same with DF.
fn whole(talk: &mut Talk, chunks: Vec<Message>) -> &mut Talk {
    talk.structured().c(cmd_with(Command::READ, CommandFlags::DF, 1, 1024, 2048));
    chunks.into_iter().fold(talk, |talk, chunk| talk.s(chunk))
}

/// The same, longer than what is always served whole.
fn large(talk: &mut Talk, chunks: Vec<Message>) -> &mut Talk {
    talk.structured().c(cmd_with(Command::READ, CommandFlags::DF, 1, 0, 1 << 17));
    chunks.into_iter().fold(talk, |talk, chunk| talk.s(chunk))
}

fn long_error(length: usize) -> Message {
    error(1, DONE, EIO, &"x".repeat(length))
}

cases! {
    done_is_last: DoneLast by Server,
        |t| { answers(t, vec![data(1, DONE, 1024, 2048), none(1)]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), none(1)]); };
    a_chunk_begins_with_its_magic: StructuredChunkLayout by Server,
        |t| { answers(t, vec![data(1, DONE, 1024, 2048)]).raw(Server, &[0; 20]); },
        |t| { answers(t, vec![data(1, DONE, 1024, 2048)]).c(write(2, 0, 1)).s(ok(2)); };
    no_other_reply_flags: ReplyFlagsNoOthers by Server,
        |t| { answers(t, vec![data(1, 3, 1024, 2048)]); },
        |t| { answers(t, vec![data(1, 1, 1024, 2048)]); };
    data_is_within_the_maximum: VariablePartLimit by Server,
        |t| { t.haggle().agree(protocol::values::OptionType::STRUCTURED_REPLY)
            .enter_sized(1 << 19, FLAGS, 1, 4096).c(read(1, 0, 8192)).s(data(1, DONE, 0, 8192)); },
        |t| { t.haggle().agree(protocol::values::OptionType::STRUCTURED_REPLY)
            .enter_sized(1 << 19, FLAGS, 1, 4096).c(read(1, 0, 8192)).s(data(1, MORE, 0, 4096))
            .s(data(1, DONE, 4096, 4096)); };
    chunk_types_fit_commands: ChunkTypeFits by Server,
        |t| { t.structured().c(write(1, 0, 512)).s(data(1, DONE, 0, 512)); },
        |t| { t.structured().c(write(1, 0, 512)).s(none(1)); };
    unknown_chunk_types_fit_nothing: ChunkTypeFits by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType(77), MORE, 1, b"x")]); },
        |t| { answers(t, vec![chunk(ChunkType(0x8077), MORE, 1, ChunkBody::Error {
            error: EIO, message: "x".into(), offset: None, rest: vec![1, 2] }), none(1)]); };
    a_flush_fails_at_no_offset: ChunkTypeFits by Server,
        |t| { t.structured().c(cmd(Command::FLUSH, 1, 0, 0)).s(error_at(1, DONE, EIO, 0)); },
        |t| { t.structured().c(cmd(Command::CACHE, 1, 0, 512)).s(error_at(1, DONE, EIO, 0)); };
    none_is_empty: NoneEmpty by Server,
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), chunk_raw(ChunkType::NONE, DONE, 1, b"x")]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), none(1)]); };
    none_is_done: NoneDone by Server,
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), chunk(ChunkType::NONE, MORE, 1, ChunkBody::Empty)]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), none(1)]); };
    data_has_at_least_a_byte: DataLength by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::OFFSET_DATA, MORE, 1, &[0; 8])]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 1024)]); };
    content_is_within_the_request: ContentInBounds by Server,
        |t| { answers(t, vec![data(1, DONE, 1024, 2560)]); },
        |t| { answers(t, vec![data(1, DONE, 1024, 2048)]); };
    content_does_not_begin_before_the_request: ContentInBounds by Server,
        |t| { answers(t, vec![hole(1, MORE, 512, 1024)]); },
        |t| { answers(t, vec![hole(1, MORE, 1024, 1024)]); };
    content_does_not_overlap: ContentNoOverlap by Server,
        |t| { answers(t, vec![data(1, MORE, 1024, 1024), hole(1, DONE, 1536, 1536)]); },
        |t| { answers(t, vec![hole(1, MORE, 2048, 1024), data(1, DONE, 1024, 1024)]); };
    content_comes_before_its_error: ContentBeforeError by Server,
        |t| { answers(t, vec![error_at(1, MORE, EIO, 1024), data(1, MORE, 1024, 1024)]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 1024), error_at(1, MORE, EIO, 1024),
            data(1, DONE, 2048, 1024)]); };
    a_hole_has_12_bytes: HoleLength by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::OFFSET_HOLE, MORE, 1, &[0; 8])]); },
        |t| { answers(t, vec![hole(1, MORE, 1024, 2048)]); };
    a_hole_is_not_empty: HoleNonzero by Server,
        |t| { answers(t, vec![hole(1, MORE, 1024, 0)]); },
        |t| { answers(t, vec![hole(1, MORE, 1024, 512)]); };
    content_is_cut_at_multiples_of_512: ChunksMultipleOf512 by Server,
        |t| { answers(t, vec![data(1, MORE, 1024, 1000)]); },
        |t| { t.structured().c(read(1, 1000, 1000)).s(data(1, MORE, 1000, 24))
            .s(data(1, DONE, 1024, 976)); };
    a_read_is_covered: ReadCoversRequest by Server,
        |t| { answers(t, vec![data(1, DONE, 1024, 1024)]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 1024), error(1, DONE, EIO, "disk gone")]); };
    a_read_is_covered_to_its_first_byte: ReadCoversRequest by Server,
        |t| { answers(t, vec![data(1, MORE, 1536, 1536), none(1)]); },
        |t| { answers(t, vec![data(1, MORE, 1536, 1536), hole(1, MORE, 1024, 512), none(1)]); };
    errors_with_and_without_offset_do_not_mix: ErrorsNotMixed by Server,
        |t| { answers(t, vec![error_at(1, MORE, EIO, 1024), error(1, DONE, EIO, "")]); },
        |t| { answers(t, vec![error_at(1, MORE, EIO, 1024), error_at(1, DONE, EIO, 2048)]); };
    df_has_one_content_chunk: DfOneContent by Server,
        |t| { whole(t, vec![data(1, MORE, 1024, 1024), data(1, DONE, 2048, 1024)]); },
        |t| { whole(t, vec![data(1, MORE, 1024, 2048), none(1)]); };
    df_is_refused_without_content: DfEoverflowNoContent by Server,
        |t| { large(t, vec![data(1, MORE, 1024, 1024), error(1, DONE, EOVERFLOW, "")]); },
        |t| { large(t, vec![error(1, DONE, EOVERFLOW, "too large")]); };
    df_is_refused_once: DfEoverflowNoContent by Server,
        |t| { large(t, vec![error(1, MORE, EOVERFLOW, ""), data(1, MORE, 1024, 1024)]); },
        |t| { large(t, vec![error(1, MORE, EOVERFLOW, ""), none(1)]); };
    df_is_served_up_to_65536_bytes: Df65536Served by Server,
        |t| { t.structured().c(cmd_with(Command::READ, CommandFlags::DF, 1, 0, 65_536))
            .s(error(1, DONE, EOVERFLOW, "")); },
        |t| { t.structured().c(cmd_with(Command::READ, CommandFlags::DF, 1, 0, 66_048))
            .s(error(1, DONE, EOVERFLOW, "")); };

    every_error_chunk_has_the_common_fields: ErrorCommonFields by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType(0x8077), MORE, 1, &[0, 0, 0, 5])]); },
        |t| { answers(t, vec![chunk_raw(ChunkType(0x8077), MORE, 1, &[0, 0, 0, 5, 0, 0])]); };
    an_error_chunk_has_6_bytes: ErrorLength by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR, DONE, 1, &[0, 0, 0, 5])]); },
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR, DONE, 1, &[0, 0, 0, 5, 0, 0])]); };
    one_error_without_offset: ErrorOnce by Server,
        |t| { answers(t, vec![error(1, MORE, EIO, ""), error(1, DONE, EIO, "")]); },
        |t| { answers(t, vec![error(1, MORE, EIO, ""), none(1)]); };
    an_error_message_is_at_most_4096_bytes: ErrorMessageLimit by Server,
        |t| { answers(t, vec![long_error(4097)]); },
        |t| { answers(t, vec![long_error(256)]); };
    an_error_is_not_0: ErrorNonzero by Server,
        |t| { answers(t, vec![error(1, DONE, ErrorCode::OK, "")]); },
        |t| { answers(t, vec![error(1, DONE, EIO, "")]); };
    a_message_fits_its_chunk: ErrorMessageFits by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR, DONE, 1, &[0, 0, 0, 5, 0, 3, 65, 65])]); },
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR, DONE, 1, &[0, 0, 0, 5, 0, 2, 65, 65])]); };
    an_error_with_offset_has_14_bytes: ErrorOffsetLength by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR_OFFSET, DONE, 1, &[0, 0, 0, 5, 0, 0])]); },
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR_OFFSET, DONE, 1,
            &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0])]); };
    a_message_leaves_room_for_the_offset: ErrorMessageFits by Server,
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR_OFFSET, DONE, 1,
            &[0, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0])]); },
        |t| { answers(t, vec![chunk_raw(ChunkType::ERROR_OFFSET, DONE, 1,
            &[0, 0, 0, 5, 0, 1, 65, 0, 0, 0, 0, 0, 0, 4, 0])]); };
    an_error_is_within_the_request: ErrorOffsetInBounds by Server,
        |t| { answers(t, vec![error_at(1, DONE, EIO, 3072)]); },
        |t| { answers(t, vec![error_at(1, DONE, EIO, 3071)]); };
    error_offsets_are_not_repeated: ErrorOffsetNoRepeat by Server,
        |t| { answers(t, vec![error_at(1, MORE, EIO, 1024), error_at(1, DONE, EIO, 1024)]); },
        |t| { answers(t, vec![error_at(1, MORE, EIO, 1024), error_at(1, DONE, EIO, 1025)]); };
    a_content_chunk_fails_at_one_offset: ErrorOffsetOnePerContent by Server,
        |t| { answers(t, vec![data(1, MORE, 1024, 2048), error_at(1, MORE, EIO, 1024),
            error_at(1, DONE, EIO, 2048)]); },
        |t| { answers(t, vec![data(1, MORE, 1024, 1024), data(1, MORE, 2048, 1024),
            error_at(1, MORE, EIO, 1024), error_at(1, DONE, EIO, 2048)]); };
}

#[test]
fn an_error_before_all_content_is_lawful() {
    let mut talk = Talk::new();
    answers(&mut talk, vec![error(1, MORE, EIO, ""), data(1, MORE, 1024, 512), none(1)]);
    assert_eq!(talk.broken(), Vec::<&str>::new());
}
