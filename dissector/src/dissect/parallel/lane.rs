//! What a lane does: follows its share of the connections.

use std::sync::mpsc::Receiver;

use super::super::Sink as _;
use super::super::table::Table;
use super::feed::{Batch, Work};
use super::records::{Keeper, Place};

/// So many segments ahead bytes are asked for: the reader's processor has them, this one has not.
const AHEAD: usize = 3;

/// Takes batches until there are no more, or until nobody wants to know.
pub(super) fn run(mut table: Table, batches: &Receiver<Batch>, mut keeper: Keeper) {
    for batch in batches {
        for (index, work) in batch.work.iter().enumerate() {
            if let Some(Work::Segment(piece)) = batch.work.get(index + AHEAD) {
                batch.prefetch(piece);
            }
            match work {
                Work::Secrets(log) => table.secrets(log),
                Work::Segment(piece) => {
                    keeper.place = Place::Packet(batch.packet(piece));
                    if let Some(segment) = batch.segment(piece) {
                        table.segment(piece.time_ns, &segment, &mut keeper);
                    }
                }
            }
        }
        keeper.hand_on(Place::Packet(batch.through), batch.window);
        if keeper.is_done() {
            return;
        }
    }
    table.finish(&mut keeper, |keeper, order| keeper.place = Place::End(order));
    keeper.hand_on(Place::Over, None);
}
