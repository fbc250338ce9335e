//! Placeholders in peer files: `{port}` stands for a value, `{listen}` as a whole word for several
//! words. `{{` and `}}` are braces.

use std::collections::BTreeMap;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// One text.
    Text(String),
    /// Several words: so many arguments of a command, so many lines of a file.
    Words(Vec<String>),
}

/// Placeholders by name.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// What can be wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    /// A `{` or `}` by itself.
    #[error(
        "a `{brace}` in `{template}` has no partner\nhint: write `{brace}{brace}` for the character itself"
    )]
    Brace { template: String, brace: char },
    /// No such placeholder.
    #[error("`{{{name}}}` is not a placeholder\nhint: known here: {known}")]
    Unknown { name: String, known: String },
    /// A placeholder without a value this time.
    #[error("`{{{name}}}` has no value here")]
    Unset { name: String },
    /// Words in the middle of a text.
    #[error("`{{{name}}}` expands to several words and must be a separate word")]
    NotAlone { name: String },
}

/// A piece of a template.
enum Piece<'a> {
    Literal(char),
    Name(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let lone = |brace| TemplateError::Brace { template: template.to_owned(), brace };
    let mut out = Vec::new();
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            out.push(Piece::Literal(next));
            rest = &rest[2..];
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| lone('{'))?;
            out.push(Piece::Name(name));
            rest = after;
        } else if next == '}' {
            return Err(lone('}'));
        } else {
            out.push(Piece::Literal(next));
            rest = &rest[next.len_utf8()..];
        }
    }
    Ok(out)
}

/// The name, if the whole template is one placeholder.
fn whole(template: &str) -> Option<&str> {
    let name = template.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

/// Checks that a template can be filled in when the placeholders `known` have values.
pub(super) fn check(template: &str, known: &[&str]) -> Result<(), TemplateError> {
    for piece in pieces(template)? {
        if let Piece::Name(name) = piece
            && !known.contains(&name)
        {
            let known =
                known.iter().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(" ");
            return Err(TemplateError::Unknown { name: name.to_owned(), known });
        }
    }
    Ok(())
}

/// Fills in one text.
pub(super) fn text(template: &str, values: &Values) -> Result<String, TemplateError> {
    let mut out = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Literal(c) => out.push(c),
            Piece::Name(name) => match values.get(name) {
                Some(Value::Text(value)) => out.push_str(value),
                Some(Value::Words(_)) => {
                    return Err(TemplateError::NotAlone { name: name.to_owned() });
                }
                None => return Err(TemplateError::Unset { name: name.to_owned() }),
            },
        }
    }
    Ok(out)
}

/// Fills in a list of words; a word that is one placeholder may become several or none.
pub(super) fn words(templates: &[String], values: &Values) -> Result<Vec<String>, TemplateError> {
    let mut out = Vec::new();
    for template in templates {
        match whole(template).and_then(|name| values.get(name)) {
            Some(Value::Words(several)) => out.extend(several.iter().cloned()),
            _ => out.push(text(template, values)?),
        }
    }
    Ok(out)
}

/// Fills in the text of a file; a line that is one placeholder may become several or none.
pub(super) fn lines(template: &str, values: &Values) -> Result<String, TemplateError> {
    let lines: Vec<String> = template.lines().map(|line| line.trim().to_owned()).collect();
    let mut out = words(&lines, values)?.join("\n");
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> Values {
        Values::from([
            ("port", Value::Text("10901".to_owned())),
            ("listen", Value::Words(vec!["-p".to_owned(), "10901".to_owned()])),
            ("tls", Value::Words(Vec::new())),
        ])
    }

    fn words_of(templates: &[&str]) -> Result<Vec<String>, TemplateError> {
        let templates: Vec<String> = templates.iter().map(|&t| t.to_owned()).collect();
        words(&templates, &values())
    }

    #[test]
    fn a_word_of_its_own_becomes_several_or_none() {
        assert_eq!(
            words_of(&["x", "{listen}", "{tls}", "a{port}b", "{{{port}}}"]),
            Ok(["x", "-p", "10901", "a10901b", "{10901}"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn words_inside_a_word_are_refused() {
        assert_eq!(
            words_of(&["a{listen}"]),
            Err(TemplateError::NotAlone { name: "listen".to_owned() })
        );
    }

    #[test]
    fn lone_braces_and_unknown_names_are_refused() {
        insta::assert_snapshot!(check("{port", &["port"]).unwrap_err(), @r"
        a `{` in `{port` has no partner
        hint: write `{{` for the character itself
        ");
        insta::assert_snapshot!(check("a{prot}", &["port", "dir"]).unwrap_err(), @r"
        `{prot}` is not a placeholder
        hint: known here: `{port}` `{dir}`
        ");
        assert!(text("}", &values()).is_err());
    }

    #[test]
    fn a_placeholder_line_becomes_lines() {
        assert_eq!(lines("[a]\n{listen}\n{tls}\nb", &values()), Ok("[a]\n-p\n10901\nb\n".into()));
    }

    proptest! {
        #[test]
        fn a_checked_template_fills_in(template in "[a{}p]{0,12}") {
            let values = Values::from([("p", Value::Text("v".to_owned()))]);
            if check(&template, &["p"]).is_ok() {
                prop_assert!(text(&template, &values).is_ok());
            }
        }
    }
}
