//! The page around every HTML report: one file, no scripts, nothing fetched, light and dark.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The whole document around a body.
#[must_use]
pub fn page(title: &str, body: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (super::clean(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                footer { "nbdcheck " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    let mut text = document.into_string();
    text.push('\n');
    text
}

/// Foreign text: escaped, without control characters.
#[must_use]
pub fn text(text: &str) -> Markup {
    let text = super::clean(text);
    html! { (text) }
}

const STYLE: &str = include_str!("style.css");
