//! What a word with a mistake in it may have been meant to be.

/// The known words that look like `word`, nearest first, at most three, and none that is much less
/// like it than the nearest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_ascii_lowercase();
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by(|a, b| a.1 == b.1);
    let best = near.first().map_or(0.0, |(score, _)| *score);
    near.into_iter()
        .take(3)
        .take_while(|(score, _)| best - score < 0.1)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// Whether a word is a known one but for a letter or two: fewer than a `did you mean` forgives.
pub fn is_slip<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> bool {
    known.into_iter().any(|known| strsim::damerau_levenshtein(word, known) <= 1 + known.len() / 4)
}

/// `did you mean ...?`, if a known word is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = nearest(word, known);
    let (last, rest) = near.split_last()?;
    let mut list = String::new();
    for (index, word) in rest.iter().enumerate() {
        list += &format!("{}`{word}`", if index > 0 { ", " } else { "" });
    }
    let or = if rest.is_empty() { "" } else { " or " };
    Some(format!("did you mean {list}{or}`{last}`?"))
}
