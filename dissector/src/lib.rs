//! From bytes seen to verdicts.
