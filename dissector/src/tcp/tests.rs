use std::net::SocketAddr;

use super::*;
use proptest::prelude::*;

/// What was handed on, as text: `C:abc`, `S gap 4`, `C end`.
#[derive(Default)]
struct Log(Vec<String>);

impl Log {
    fn add(&mut self, delivery: &Delivery<'_>) {
        let (Delivery::Data { from, .. }
        | Delivery::Gap { from, .. }
        | Delivery::Conflict { from, .. }
        | Delivery::End { from, .. }
        | Delivery::Reset { from, .. }
        | Delivery::Aside { from, .. }) = delivery;
        let side = from.letter();
        self.0.push(match delivery {
            Delivery::Data { bytes, .. } => {
                format!("{side}:{}", String::from_utf8_lossy(bytes))
            }
            Delivery::Gap { missing, .. } => format!("{side} gap {missing}"),
            Delivery::Conflict { length, .. } => format!("{side} conflict {length}"),
            Delivery::End { .. } => format!("{side} end"),
            Delivery::Reset { .. } => format!("{side} reset"),
            Delivery::Aside { what, .. } => format!("{side} {what:?}"),
        });
    }

    fn text(&self) -> String {
        self.0.join(" | ")
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn segment(sequence: u32, acknowledgment: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        source: address(1),
        destination: address(2),
        sequence,
        acknowledgment: Some(acknowledgment),
        id: 0,
        syn: false,
        fin: false,
        rst: false,
        header: &[],
        payload,
        missing: 0,
    }
}

struct Rig {
    reassembly: Reassembly,
    /// Moves on with each packet.
    now_ns: u64,
    log: Log,
}

impl Rig {
    /// Client's first byte is 1000, server's 5000.
    fn new() -> Self {
        Self::at(1000, 5000)
    }

    fn at(client: u32, server: u32) -> Self {
        let mut rig = Self { reassembly: Reassembly::new(), now_ns: 0, log: Log::default() };
        let syn =
            Segment { syn: true, acknowledgment: None, ..segment(client.wrapping_sub(1), 0, b"") };
        rig.send(Side::Client, &syn);
        let syn = Segment { syn: true, ..segment(server.wrapping_sub(1), client, b"") };
        rig.send(Side::Server, &syn);
        rig
    }

    fn send(&mut self, from: Side, segment: &Segment<'_>) {
        self.now_ns += 5_000_000;
        let Self { reassembly, now_ns, log } = self;
        reassembly.segment(from, *now_ns, segment, false, &mut |delivery| log.add(&delivery));
    }

    fn doubtful(&mut self, from: Side, segment: &Segment<'_>) {
        self.reassembly.segment(from, 0, segment, true, &mut |delivery| self.log.add(&delivery));
    }

    fn client(&mut self, sequence: u32, acknowledgment: u32, payload: &[u8]) {
        self.send(Side::Client, &segment(sequence, acknowledgment, payload));
    }

    fn server(&mut self, sequence: u32, acknowledgment: u32, payload: &[u8]) {
        self.send(Side::Server, &segment(sequence, acknowledgment, payload));
    }

    fn finish(mut self) -> String {
        self.reassembly.finish(0, &mut |delivery| self.log.add(&delivery));
        self.reassembly.over(&mut |delivery| self.log.add(&delivery));
        assert_eq!(self.reassembly.held_bytes(), 0);
        self.log.text()
    }
}

#[test]
fn in_order_bytes_pass_through() {
    let mut rig = Rig::new();
    rig.server(5000, 1000, b"hello");
    rig.client(1000, 5005, b"hi");
    rig.client(1002, 5005, b"!");
    assert_eq!(rig.log.text(), "S:hello | C:hi | C:!");
}

#[test]
fn reordered_bytes_wait() {
    let mut rig = Rig::new();
    rig.client(1003, 5000, b"def");
    rig.client(1006, 5000, b"ghi");
    assert_eq!(rig.log.text(), "");
    rig.client(1000, 5000, b"abc");
    assert_eq!(rig.log.text(), "C:abc | C:def | C:ghi");
}

#[test]
fn retransmissions_and_overlaps_are_trimmed() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.client(1000, 5000, b"abc");
    rig.client(999, 5000, b"?"); // a keep-alive probe
    rig.client(1001, 5000, b"bcde");
    rig.client(1006, 5000, b"gh");
    rig.client(1004, 5000, b"efgh");
    assert_eq!(rig.finish(), "C:abc | C:de | C:fgh");
}

#[test]
fn other_bytes_in_the_same_place_are_told_and_the_first_are_taken() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abcdef");
    rig.client(1000, 5000, b"abcdef");
    assert_eq!(rig.log.text(), "C:abcdef");
    rig.client(1000, 5000, b"abXdef");
    rig.client(1004, 5000, b"efgh");
    rig.client(1006, 5000, b"Xhij");
    assert_eq!(rig.reassembly.retransmitted(), 2);
    assert_eq!(rig.finish(), "C:abcdef | C conflict 6 | C:gh | C conflict 2 | C:ij");
    // ... also where they wait for what comes before,
    let mut rig = Rig::new();
    rig.client(1003, 5000, b"def");
    rig.client(1003, 5000, b"dEfgh");
    rig.client(1003, 5000, b"def");
    rig.client(1000, 5000, b"abc");
    assert_eq!(rig.reassembly.retransmitted(), 2);
    assert_eq!(rig.finish(), "C conflict 5 | C:abc | C:defgh");
    // ... and where the sequence numbers wrap around.
    let mut rig = Rig::at(0xffff_fffe, 5000);
    rig.client(0xffff_fffe, 5000, b"abcd");
    rig.client(0, 5000, b"cDef");
    assert_eq!(rig.finish(), "C:abcd | C conflict 2 | C:ef");
}

#[test]
fn a_segment_that_may_be_damaged_waits_for_its_receiver() {
    // Sent again: the first copy does not count,
    let mut rig = Rig::new();
    rig.doubtful(Side::Client, &segment(1000, 5000, b"aXc"));
    rig.server(5000, 1000, b"");
    rig.client(1003, 5000, b"def");
    assert_eq!(rig.log.text(), "");
    rig.client(1000, 5000, b"abc");
    assert_eq!(rig.finish(), "C:abc | C Damaged(3) | C:def");
    // ... whatever the pieces,
    let mut rig = Rig::new();
    rig.doubtful(Side::Client, &segment(1000, 5000, b"aXc"));
    rig.client(1000, 5000, b"ab");
    rig.server(5000, 1002, b"");
    rig.client(1002, 5000, b"c");
    assert_eq!(rig.finish(), "C:ab | C:c | C Damaged(3)");
    // ... and although it waits for the other side.
    let mut rig = Rig::new();
    rig.doubtful(Side::Client, &segment(1000, 5002, b"aXcdef"));
    rig.client(1000, 5002, b"abc");
    assert_eq!(rig.log.text(), "C Damaged(6)");
    rig.server(5000, 1000, b"hi");
    rig.server(5002, 1006, b"");
    assert_eq!(rig.finish(), "C Damaged(6) | S:hi | C:abc | C:def");
    // Acknowledged: it counts,
    let mut rig = Rig::new();
    rig.doubtful(Side::Client, &segment(1000, 5000, b"abc"));
    rig.server(5000, 1003, b"hi");
    assert_eq!(rig.finish(), "C:abc | S:hi");
    // ... neither: it does not.
    let mut rig = Rig::new();
    rig.doubtful(Side::Client, &segment(1000, 5000, b"abc"));
    rig.client(1003, 5000, b"def");
    assert_eq!(rig.finish(), "C Damaged(3) | C gap 3 | C:def");
    // Nor does a damaged copy of what has come.
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.doubtful(Side::Client, &segment(1000, 5000, b"aXc"));
    rig.doubtful(Side::Client, &Segment { rst: true, ..segment(1003, 5000, b"") });
    assert_eq!(rig.finish(), "C:abc | C Damaged(3) | C Damaged(0)");
}

#[test]
fn probes_that_keep_a_connection_alive_are_no_bytes() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.client(1002, 5000, b"");
    rig.client(1002, 5000, b"\0");
    rig.server(5000, 1003, b"");
    assert_eq!(rig.reassembly.retransmitted(), 0);
    assert_eq!(rig.finish(), "C:abc");
}

#[test]
fn one_side_may_go_on_after_the_other_has_ended() {
    let mut rig = Rig::new();
    rig.send(Side::Client, &Segment { fin: true, ..segment(1000, 5000, b"bye") });
    rig.server(5000, 1004, b"one");
    rig.server(5003, 1004, b"two");
    assert!(!rig.reassembly.is_over());
    rig.send(Side::Server, &Segment { fin: true, ..segment(5006, 1004, b"") });
    assert!(rig.reassembly.is_over());
    assert_eq!(rig.finish(), "C:bye | C end | S:one | S:two | S end");
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut rig = Rig::at(0xffff_fffe, 0xffff_ffff);
    rig.client(1, 0xffff_ffff, b"def");
    rig.client(0xffff_fffe, 0xffff_ffff, b"abc");
    rig.server(0xffff_ffff, 4, b"xyz");
    rig.client(4, 2, b"ghi");
    assert_eq!(rig.finish(), "C:abc | C:def | S:xyz | C:ghi");
}

#[test]
fn a_reply_waits_for_its_request() {
    let mut rig = Rig::new();
    rig.server(5000, 1003, b"reply");
    assert_eq!(rig.log.text(), "");
    rig.client(1000, 5000, b"ask");
    assert_eq!(rig.finish(), "C:ask | S:reply");
}

#[test]
fn what_the_receiver_acknowledged_and_the_capture_lost_is_a_gap() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    // 1003 to 1006 are not in the capture
    rig.server(5000, 1006, b"reply");
    assert_eq!(rig.log.text(), "C:abc");
    for byte in 0..40 {
        rig.client(1006 + byte, 5005, b"x");
    }
    assert!(
        rig.log.text().starts_with("C:abc | C gap 3 | S:reply | C:x | C:x"),
        "{}",
        rig.log.text()
    );
}

#[test]
fn what_the_network_lost_waits_for_its_retransmission() {
    let mut rig = Rig::new();
    for n in 0..2000 {
        rig.client(1003 + n * 100, 5000, &[b'x'; 100]); // none acknowledged
    }
    assert_eq!(rig.log.text(), "");
    rig.client(1000, 5000, b"abc");
    assert!(rig.log.text().starts_with("C:abc | C:xxx"));
    assert_eq!(rig.reassembly.held_bytes(), 0);
}

#[test]
fn a_hole_is_given_up_when_too_much_is_held() {
    let mut rig = Rig::new();
    for n in 0..200 {
        rig.client(1003 + n * 60_000, 5000, &[b'x'; 60_000]);
        assert!(rig.reassembly.held_bytes() <= HELD_BYTES);
    }
    assert!(rig.log.text().starts_with("C gap 3 | C:x"));
}

#[test]
fn what_is_missing_at_the_end_is_told() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.server(5000, 1003, b"");
    rig.client(1003, 5010, b"thanks"); // for 10 bytes that are not in the capture
    assert_eq!(rig.finish(), "C:abc | S gap 10 | C:thanks");
    let mut rig = Rig::new();
    rig.client(1000, 5010, b"");
    assert_eq!(rig.finish(), "S gap 10");
}

#[test]
fn a_packet_cut_short_leaves_a_gap() {
    let mut rig = Rig::new();
    rig.send(Side::Client, &Segment { missing: 7, ..segment(1000, 5000, b"abc") });
    rig.client(1010, 5000, b"def");
    assert_eq!(rig.finish(), "C:abc | C gap 7 | C:def");
}

#[test]
fn ends_are_told_in_their_place() {
    let mut rig = Rig::new();
    rig.send(Side::Client, &Segment { fin: true, ..segment(1003, 5000, b"def") });
    rig.client(1000, 5000, b"abc");
    rig.send(Side::Server, &Segment { fin: true, ..segment(5000, 1007, b"bye") });
    rig.send(Side::Server, &Segment { fin: true, ..segment(5000, 1007, b"bye") });
    rig.client(1007, 5004, b"");
    assert!(rig.reassembly.is_over());
    assert_eq!(rig.finish(), "C:abc | C:def | C end | S:bye | S end");
}

#[test]
fn a_lost_fin_is_an_end() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.send(Side::Server, &Segment { fin: true, ..segment(5000, 1004, b"") });
    assert_eq!(rig.finish(), "C:abc | C end | S end");
}

#[test]
fn a_reset_is_told_after_what_was_held() {
    let mut rig = Rig::new();
    rig.client(1003, 5000, b"def");
    rig.send(Side::Client, &Segment { rst: true, ..segment(1006, 5000, b"") });
    rig.send(Side::Server, &Segment { rst: true, ..segment(5000, 1006, b"") });
    assert_eq!(rig.finish(), "C gap 3 | C:def | C reset");
}

#[test]
fn a_reset_shows_up_to_where_its_sender_had_come() {
    for (by, wanted) in [
        (3, "C:abc | C gap 3 | C reset"),
        (1, "C:abc | C end | C reset"), // the FIN
        (0, "C:abc | C reset"),
        (-3, "C:abc | C reset"), // in reply to a packet from before
        (1 << 24, "C:abc | C StrayReset"),
        (-1 << 24, "C:abc | C StrayReset"),
    ] {
        let mut rig = Rig::new();
        rig.client(1000, 5000, b"abc");
        let number = 1003u32.wrapping_add_signed(by);
        rig.send(Side::Client, &Segment { rst: true, ..segment(number, 5000, b"") });
        // Who waits for another number does not obey at once; nothing was acknowledged but the start.
        assert_eq!(rig.reassembly.is_over(), [0, -3].contains(&by), "{by}");
        assert_eq!(rig.finish(), wanted);
    }
}

#[test]
fn a_reset_that_is_not_exact_does_not_end_a_connection_that_goes_on() {
    for (by, goes_on) in [(-2, true), (1, true), (500, true), (100_000, true), (0, false)] {
        let mut rig = Rig::new();
        rig.client(1000, 5000, b"abc");
        let number = 1003u32.wrapping_add_signed(by);
        rig.send(Side::Client, &Segment { rst: true, ..segment(number, 5000, b"") });
        rig.server(5000, 1003, b"hello");
        rig.client(1003, 5005, b"def");
        let wanted = match goes_on {
            true => "C:abc | S:hello | C StrayReset | C:def",
            false => "C:abc | C reset",
        };
        assert!(rig.finish().starts_with(wanted), "{by}");
    }
}

#[test]
fn an_acknowledgment_shows_that_a_connection_goes_on() {
    let mut rig = Rig::new();
    rig.client(1000, 5000, b"abc");
    rig.send(Side::Client, &Segment { rst: true, ..segment(1100, 5000, b"") });
    rig.server(5000, 1003, b"hello");
    rig.client(1003, 5005, b"");
    assert_eq!(rig.finish(), "C:abc | S:hello | C StrayReset");
}

#[test]
fn what_the_other_side_says_does_not_undo_a_reset() {
    let mut rig = Rig::new();
    rig.server(5000, 1000, b"hello");
    rig.send(Side::Client, &Segment { rst: true, ..segment(1100, 5000, b"") });
    rig.server(5005, 1000, b"there");
    assert_eq!(rig.finish(), "S:hello | S:there | C gap 100 | C reset");
}

#[test]
fn a_reset_behind_what_is_held_counts() {
    let mut rig = Rig::new();
    rig.client(1003, 5000, b"def");
    for n in 0..40 {
        rig.client(1006 + n * 60_000, 5000, &[b'x'; 60_000]);
    }
    rig.send(Side::Client, &Segment { rst: true, ..segment(1006 + 2_400_000, 5000, b"") });
    assert!(rig.reassembly.is_over());
    assert!(rig.finish().starts_with("C gap 3 | C:def"));
}

#[test]
fn a_syn_says_where_its_direction_begins() {
    let syn = Segment { syn: true, acknowledgment: None, ..segment(999, 0, b"") };
    let syn_ack = Segment { syn: true, ..segment(4999, 1000, b"") };
    let ask = segment(1000, 5005, b"ask");
    let hello = segment(5000, 1000, b"hello");
    // It may be recorded after what acknowledges more,
    for late in [
        vec![segment(1000, 5005, b""), syn_ack, hello, ask],
        vec![ask, hello, syn_ack],
        vec![segment(1000, 5000, b""), hello, segment(1000, 5005, b""), ask, syn_ack],
        vec![ask, syn_ack, segment(5002, 1000, b"llo"), hello],
    ] {
        let mut rig = Rig { reassembly: Reassembly::new(), now_ns: 0, log: Log::default() };
        rig.send(Side::Client, &syn);
        for segment in &late {
            let server = segment.syn || segment.sequence >= 5000;
            rig.send(if server { Side::Server } else { Side::Client }, segment);
        }
        let text = rig.finish();
        assert!(["S:hello | C:ask", "S:hello | S:llo | C:ask"].contains(&text.as_str()), "{text}");
    }
    // ... and is not waited for forever.
    let mut rig = Rig { reassembly: Reassembly::new(), now_ns: 0, log: Log::default() };
    rig.send(Side::Client, &syn);
    rig.server(5002, 1000, b"llo");
    rig.server(5000, 1000, b"he");
    assert_eq!(rig.log.text(), "");
    for _ in 0..SHUFFLE {
        rig.client(1000, 5005, b"ask");
    }
    assert_eq!(rig.finish(), "S:he | S:llo | C:ask");
}

#[test]
fn a_connection_can_be_met_midway() {
    let mut rig = Rig { reassembly: Reassembly::new(), now_ns: 0, log: Log::default() };
    rig.server(7000, 300, b"abc");
    rig.client(300, 7003, b"def");
    assert_eq!(rig.finish(), "S:abc | C:def");
}

/// A step of a conversation: who speaks, and how much.
fn conversation() -> impl Strategy<Value = Vec<(bool, usize)>> {
    prop::collection::vec((any::<bool>(), 1usize..40), 1..30)
}

proptest! {
    /// However packets are cut, repeated and shuffled (not too far), the same bytes come out, and
    /// none before the bytes that it acknowledges.
    #[test]
    fn cuts_repeats_and_shuffles_change_nothing(
        steps in conversation(),
        start in any::<(u32, u32)>(),
        cuts in prop::collection::vec(1usize..9, 64),
        order in prop::collection::vec(0usize..6, 400),
        repeats in prop::collection::vec(any::<bool>(), 64),
    ) {
        let mut packets = Vec::new();
        let mut next = [start.0, start.1];
        let mut sent = [Vec::new(), Vec::new()];
        let mut cut = cuts.iter().cycle();
        for (index, (server, length)) in steps.iter().enumerate() {
            let side = usize::from(*server);
            let bytes: Vec<u8> = (0..*length).map(|n| (n + index * 7) as u8).collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                packets.push((side, next[side], next[1 - side], now.to_vec()));
                next[side] = next[side].wrapping_add(now.len() as u32);
                rest = later;
            }
            sent[side].extend(bytes);
        }
        let copies: Vec<_> = packets.iter().zip(repeats).filter(|(_, r)| *r).map(|(p, _)| p.clone())
            .collect();
        packets.extend(copies);
        // Packets move by at most 5 places.
        let mut keyed: Vec<_> = packets.into_iter().enumerate()
            .map(|(at, packet)| (at + order.get(at).copied().unwrap_or(0), packet)).collect();
        keyed.sort_by_key(|(key, _)| *key);

        let mut rig = Rig::at(start.0, start.1);
        let mut got = [Vec::new(), Vec::new()];
        let mut ends = 0;
        for (_, (side, sequence, acknowledgment, bytes)) in &keyed {
            let from = if *side == 0 { Side::Client } else { Side::Server };
            rig.reassembly.segment(from, 0, &segment(*sequence, *acknowledgment, bytes), false,
                &mut |delivery| match delivery {
                    Delivery::Data { from, bytes, .. } => got[from as usize].extend(bytes.to_vec()),
                    _ => ends += 1,
                });
        }
        prop_assert_eq!(ends, 0);
        prop_assert_eq!(got, sent);
        prop_assert_eq!(rig.reassembly.held_bytes(), 0);
    }

    /// Nonsense neither panics nor makes it hold more than its limit, and every direction's bytes
    /// and gaps come before its end.
    #[test]
    fn nonsense_does_no_harm(
        packets in prop::collection::vec(
            (any::<bool>(), 0u32..3000, 0u32..3000, 0usize..600, 0u32..50, 0u8..40), 0..300),
    ) {
        let mut rig = Rig::at(100, 200);
        let mut ended = [false; 2];
        for (server, sequence, acknowledgment, length, missing, flags) in packets {
            let payload = vec![b'x'; length];
            let segment = Segment {
                missing,
                syn: flags == 1,
                fin: flags == 2,
                rst: flags == 3,
                ..segment(sequence, acknowledgment, &payload)
            };
            let from = if server { Side::Server } else { Side::Client };
            let mut wrong = false;
            rig.reassembly.segment(from, 0, &segment, flags == 4, &mut |delivery| match delivery {
                Delivery::Data { from, .. } | Delivery::Gap { from, .. } => {
                    wrong |= ended[from as usize];
                }
                Delivery::End { from, .. } => ended[from as usize] = true,
                Delivery::Conflict { .. } | Delivery::Reset { .. } | Delivery::Aside { .. } => {}
            });
            prop_assert!(!wrong);
        }
        prop_assert!(rig.reassembly.held_memory() <= 300 * (600 + HELD_COST));
        rig.finish();
    }
}
