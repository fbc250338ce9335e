//! What faults make of honest answers: an honest answer goes in, a faulty one comes out.

mod answers;
mod contexts;
mod replies;
mod status;
mod store;

pub(crate) use answers::{distort_answer, lenient_info};
pub(crate) use replies::distort_reply;
pub(crate) use status::distort_extents;
pub(crate) use store::FaultyStore;
