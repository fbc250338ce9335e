//! What a word with a mistake in it may have been meant to be.

/// The known words, each once, most like `word` first, with how like it they are: from 0 to 1.
fn scored<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<(f64, &'a str)> {
    let lower = word.to_ascii_lowercase();
    let score = |known: &str| {
        let known = known.to_ascii_lowercase();
        let whole = strsim::normalized_damerau_levenshtein(&lower, &known);
        // Who forgets the folder means a name in it.
        match known.rsplit_once('/').filter(|_| !word.contains('/')) {
            Some((_, name)) => whole.max(strsim::normalized_damerau_levenshtein(&lower, name)),
            None => whole,
        }
    };
    let mut scored: Vec<_> = known.into_iter().map(|known| (score(known), known)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored
}

/// The known words that look like `word`, nearest first, at most three, and none that is much less
/// like it than the nearest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let scored = scored(word, known);
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    let near = |score: f64| score >= 0.6 && best - score < 0.1;
    scored.into_iter().take(3).filter(|(score, _)| near(*score)).map(|(_, known)| known).collect()
}

/// The known words most like `word`, at most so many, nearest first, even if none is like it.
pub fn closest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    scored(word, known).into_iter().take(most).map(|(_, known)| known).collect()
}

/// `the nearest are ...`: the words of [`closest`].
pub fn the_nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> String {
    let names: Vec<_> = closest(word, known, most).iter().map(|name| format!("`{name}`")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("the nearest {verb} {}", names.join(", "))
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
