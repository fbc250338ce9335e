//! The canonical form.

use protocol::notation::lexer::{Token, lex};

use super::{format, library};

const HEADER: &str = "nbd: 1\ntitle:   t\nsince:   2.10\nfeature: f\ntests:   server\n\n";

/// The body in canonical form.
fn formatted(body: &str) -> String {
    let text = format("y.nbd", &format!("{HEADER}{body}")).unwrap();
    let again = format("y.nbd", &text).unwrap();
    assert_eq!(again, text, "not stable");
    text.strip_prefix(HEADER).unwrap_or(&text).to_owned()
}

/// The tokens, line ends left out.
fn tokens(text: &str) -> Vec<Token> {
    lex(text).0.into_iter().map(|l| l.token).filter(|token| *token != Token::Newline).collect()
}

#[test]
fn a_header_is_a_table_that_is_wrapped() {
    let long = "go-one ".repeat(15);
    let text = format!(
        "\n# first\nnbd:    1\ntitle: a   title # and why\nsince: 2.10\nfeature: f\n  g\ntests: server\n\
         checks: {long}\n\n\n\nS: _\n"
    );
    insta::assert_snapshot!(format("y.nbd", &text).unwrap());
}

#[test]
fn lines_are_indented_and_their_tags_and_comments_aligned() {
    insta::assert_snapshot!(formatted(
        "\n\n--   to transmission   structured @a # now\n\
         C@a :NBD_CMD_READ   cookie = r offset= $size-512 length=($block * 2) flags={ DF   FUA }\n\
         should   S@a: reply ok data=zero*0x200++place( 1 )*$block [write-stored]   [baseline-read]  # why\n\
         # a comment\n\n\n\
         any-order {   # any\n\n\
         S: NBD_REP_INFO NBD_INFO_EXPORT size=?bytes flags has {HAS_FLAGS} [tflag-has-flags]\n\
         maybe {S: NBD_REP_SERVER name=\"a  b\"}\n\
         repeat 0 .. 3 { S: _ }\n\n\
         }\n\
         check pow2( $min )and($min<=64KiB) or not $flags has {DF}  [block-size-min-power-of-2]\n\
         check $d==zero*$n-512++any*3 and $a+1<$b*2\n\
         for x in 1,2 ,  3 { C: bytes hex\"00\" }\n\
         for y in 1 .. $size/512 {\n# inside\nC: NBD_CMD_READ length=$y }\n"
            .replace("not $flags has {DF}", "$flags lacks {DF}")
            .as_str()
    ));
}

#[test]
fn branches_are_joined_by_their_braces_or_stand_apart() {
    insta::assert_snapshot!(formatted(
        "either {\nS: close\n}\nor warn disc-server-closes {S: reset}\nor {\nS: _ }\n\
         either { S: close } or { S: reset }\n\
         either { S: close\n} # comment\nor { S: reset }\n\
         until S: NBD_REP_ACK [opt-info-export-required] { S: _\n S: NBD_REP_INFO _ }\n\
         given $x { given $y { check 1==1 } }\nmaybe {}\n"
    ));
}

#[test]
fn scripts_with_mistakes_are_left_alone() {
    assert!(format("y.nbd", "nbd: 1\n\nC: [").is_err());
}

proptest::proptest! {
    /// Blanks and line ends of the scenarios changed at random: the form is the same again.
    #[test]
    fn only_blanks_change(which in 0usize..1000, seed: Vec<u8>) {
        let entries = library::entries();
        let text = entries[which % entries.len()].text;
        let mut changed = String::new();
        for (index, c) in text.chars().enumerate() {
            changed.push(c);
            let roll = seed.get(index % seed.len().max(1)).copied().unwrap_or(0);
            if c == ' ' && roll % 3 == 1 && !text.starts_with('#') {
                changed.push_str(&" ".repeat(usize::from(roll % 5)));
            }
        }
        // Texts and comments keep their blanks, so they are not compared byte by byte.
        let formatted = format("x", &changed).unwrap();
        proptest::prop_assert_eq!(format("x", &formatted).unwrap(), formatted.clone());
        proptest::prop_assert_eq!(tokens(&formatted).len(), tokens(&changed).len());
    }
}
