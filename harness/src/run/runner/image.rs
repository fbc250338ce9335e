//! Whether a server that the harness started serves the image that it was given. Where it does not,
//! each scenario that counts on content would fail, and none would say why.

use std::time::Duration;

use protocol::values::TransmissionFlags;

use super::content::{fill, place_of};
use crate::run::survey::Capabilities;
use crate::run::target::Instance;

/// What is compared, in bytes: a server that reads single bytes wrongly still has blocks that are
/// right.
const BLOCK: usize = 512;
/// How many bytes are shown.
const SHOWN: usize = 8;

/// What a server holds that was started.
pub(super) struct Held {
    /// Why it does not hold what its configuration says, not now either.
    pub(super) unfilled: Option<String>,
    /// What is told of an image that it does not serve.
    pub(super) note: Option<String>,
}

/// Compares what a server holds with the image that it was given, and gives it content where it
/// needs that. It is `suspect` if it was seen to serve something else in another configuration.
pub(super) async fn settle(
    instance: &mut Instance,
    capabilities: &Capabilities,
    configuration: &str,
    limit: Duration,
    suspect: bool,
) -> Held {
    let foreign = if instance.image {
        foreign(instance, capabilities, configuration, limit, suspect).await
    } else {
        None
    };
    let Some(foreign) = foreign else {
        let unfilled = fill(instance, capabilities, configuration, limit).await.err();
        return Held { unfilled, note: None };
    };
    instance.content = false;
    let why = format!("the export does not hold what is in the file `{{image}}`: {foreign}");
    let told = |what: &str| {
        Some(format!(
            "note: {why}; {what}\nhint: is the file that `{{image}}` stands for the one that the program serves? Without `{{image}}`, content is written through the protocol"
        ))
    };
    if capabilities.flags.has(TransmissionFlags::READ_ONLY) {
        let note = told("what needs known content is left out, since the export is read-only");
        return Held { unfilled: Some(why), note };
    }
    match fill(instance, capabilities, configuration, limit).await {
        Ok(()) => {
            let note = told("known content is written to it instead");
            Held { unfilled: None, note }
        }
        // Then it reads or writes wrongly, which is for scenarios to name.
        Err(_) => {
            instance.content = true;
            Held { unfilled: None, note: None }
        }
    }
}

/// How what is read differs from the image, if no block of it is the same.
async fn foreign(
    instance: &Instance,
    capabilities: &Capabilities,
    configuration: &str,
    limit: Duration,
    suspect: bool,
) -> Option<String> {
    let (place, wanted) = place_of(instance, capabilities, configuration, limit);
    // What can't be read is for scenarios to name.
    first_difference(&place.samples(wanted).await.ok()?, suspect)
}

/// Where and how samples differ, if no block of any is as it should be; of a `suspect` any
/// difference will do, since an export may be smaller than a block.
fn first_difference(samples: &[(u64, Vec<u8>, Vec<u8>)], suspect: bool) -> Option<String> {
    let same = |(_, wanted, there): &(u64, Vec<u8>, Vec<u8>)| {
        let mut blocks = wanted.chunks_exact(BLOCK).zip(there.chunks_exact(BLOCK));
        blocks.any(|(wanted, there)| wanted == there)
    };
    let differs = |(_, wanted, there): &&(u64, Vec<u8>, Vec<u8>)| wanted != there;
    let (at, wanted, there) = samples.iter().find(differs)?;
    if !suspect && (wanted.len() < BLOCK || samples.iter().any(same)) {
        return None;
    }
    let hex = |bytes: &[u8]| {
        let shown = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}"));
        shown.collect::<Vec<_>>().join(" ")
    };
    Some(format!("at offset {at} the file has {}..., a read gets {}...", hex(wanted), hex(there)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_another_where_no_block_is_the_same() {
        let wanted = vec![7; 1024];
        let difference = |there: &[u8]| {
            let samples = [(0, wanted.clone(), there.to_vec()), (4096, vec![1; 4], vec![2; 4])];
            first_difference(&samples, false)
        };
        insta::assert_snapshot!(difference(&[0; 1024]).unwrap(), @"at offset 0 the file has 07 07 07 07 07 07 07 07..., a read gets 00 00 00 00 00 00 00 00...");
        assert_eq!(difference(&wanted), None);
        let mut wrong = wanted.clone();
        wrong[3] = 1;
        assert_eq!(difference(&wrong), None, "a wrong byte is for scenarios to name");
        let small = [(0, vec![1; 511], vec![2; 511])];
        assert_eq!(first_difference(&small, false), None, "too little to tell");
        assert!(first_difference(&small, true).is_some());
        assert_eq!(first_difference(&[], true), None);
    }
}
