//! Parsing and printing together.

use proptest::prelude::*;

use super::ast::{BinaryOp, Expr, PartExpr, Pattern, Span, Spanned};
use super::error::NotationError;
use super::parser::{Parsed, parse_expr, parse_line};
use crate::text::WireString;

/// A line in its canonical form.
fn canonical(text: &str) -> String {
    parse_line(text).unwrap().to_string()
}

/// An error as one text: message, place, label, help.
fn told<T>(parsed: Parsed<T>) -> String {
    match parsed {
        Ok(_) => "no error".to_owned(),
        Err(NotationError { span, message, label, help }) => {
            let help = help.map_or_else(String::new, |help| format!("; {help}"));
            format!("{}..{}: {message} ({label}{help})", span.start, span.end)
        }
    }
}

#[test]
fn prints_lines_of_decode_output_as_they_are() {
    for line in [
        "S: greeting fixed-newstyle flags={NO_ZEROES 0x8000}",
        "C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}",
        r#"C: NBD_OPT_GO name="disk\n" info={NBD_INFO_BLOCK_SIZE NBD_INFO_0x7777}"#,
        "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS}",
        r#"C: NBD_OPT_SET_META_CONTEXT name="" queries={"base:allocation" "qemu:"}"#,
        "C: NBD_CMD_WRITE cookie=0x1f flags={FUA} offset=0 length=512 data=place(7)*500 ++ zero*12",
        "S: simple-reply NBD_EINVAL cookie=0x1f",
        "S: NBD_REPLY_TYPE_BLOCK_STATUS cookie=0x2 flags={DONE} id=1 extents={65536:0 4096:3}",
        "S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x2 flags={} offset=0 data=digest(00ff00ff00ff00ff)*99",
        "C: NBD_CMD_BLOCK_STATUS form=extended cookie=0x2 offset=0 length=16 effect-length=9 ids={1 2}",
        "C: bytes data=hex\"de ad\"",
        "S: end",
    ] {
        assert_eq!(canonical(line), line);
    }
}

#[test]
fn prints_the_words_of_scripts_canonically() {
    for (line, wanted) in [
        ("should S@b:reply   ok cookie=r [a-b]  [c]", "should S@b: reply ok cookie=r [a-b] [c]"),
        ("S: reply error error!=NBD_ENOTSUP", "S: reply error error!=NBD_ENOTSUP"),
        ("S: NBD_REP_INFO _", "S: NBD_REP_INFO _"),
        ("S: x size=?bytes flags has {HAS_FLAGS}", "S: x size=?bytes flags has {HAS_FLAGS}"),
        ("S: x flags lacks {DF} minimum <= 64KiB", "S: x flags lacks {DF} minimum<=65536"),
        ("C: $opt offset=$size-512 length=$block*2", "C: $opt offset=$size-512 length=$block*2"),
        ("C: x offset=($size - 512)*2", "C: x offset=($size - 512)*2"),
        (r#"C: x name="a"*4096"#, r#"C: x name="a"*4096"#),
        ("C: x data=any*$block/2++zero*0x10", "C: x data=any*$block/2 ++ zero*16"),
        ("C: bytes hex\"dead\"", "C: bytes data=hex\"de ad\""),
        ("C: x offset=max($min, 512)", "C: x offset=max($min, 512)"),
    ] {
        assert_eq!(canonical(line), wanted);
    }
}

#[test]
fn binds_as_documented() {
    for (text, wanted) in [
        ("$a and $b or $c", "$a and $b or $c"),
        ("$a and ($b or $c)", "$a and ($b or $c)"),
        ("pow2($min)  and $min<=64KiB", "pow2($min) and $min <= 65536"),
        ("$a + $b * 2 == $c % 4", "$a + $b * 2 == $c % 4"),
        ("$a - ($b - $c)", "$a - ($b - $c)"),
        ("not ($a == 1)", "not ($a == 1)"),
        ("$f has {A B} and not $f has {C}", "$f has {A B}"),
        ("$d == zero*512 ++ place(1)*$n-512", "$d == zero*512 ++ place(1)*$n-512"),
    ] {
        match parse_expr(text) {
            Ok(expr) => assert_eq!(expr.node.to_string(), wanted),
            Err(error) => assert_eq!(error.message, "`not` binds tighter than a comparison"),
        }
    }
}

#[test]
fn tells_what_was_expected() {
    let lines = [
        "X: NBD_OPT_GO",
        "C NBD_OPT_GO",
        "C:",
        "C: NBD_OPT_GO name",
        "C: NBD_OPT_GO \"disk\"",
        "C: NBD_CMD_READ offset=$size - 512",
        "C: NBD_CMD_READ offset=$size- 512",
        "C: NBD_CMD_READ offset=",
        "C: NBD_CMD_READ flags={DF",
        "C: NBD_CMD_READ flags={DF, FUA}",
        "C: NBD_CMD_WRITE data=zero",
        "C: NBD_CMD_WRITE data=zero*512 ++ 5",
        "C: NBD_CMD_WRITE data=fill(1)",
        "S: reply ok [tag] data=zero*1",
        "S: reply ok\nS: reply ok",
    ];
    let told: Vec<String> =
        lines.iter().map(|line| format!("{line:?}\n  {}", told(parse_line(line)))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn tells_what_is_wrong_with_an_expression() {
    let texts = ["$a = 1", "1 < 2 < 3", "not $a == 1", "(1", "max(1 2)", "1 +", "5s"];
    let told: Vec<String> =
        texts.iter().map(|text| format!("{text}\n  {}", told(parse_expr(text)))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn refuses_to_nest_without_end() {
    let text = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(parse_expr(&text).unwrap_err().message, "this nests too deep");
    let text = "not ".repeat(10_000);
    assert_eq!(parse_expr(&text).unwrap_err().message, "this nests too deep");
}

fn spanned(node: Expr) -> Spanned<Expr> {
    Spanned::new(node, Span::default())
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Expr::Int),
        any::<Vec<u8>>().prop_map(|bytes| Expr::Text(WireString(bytes))),
        "NBD_[A-Z_]{1,8}".prop_map(Expr::Name),
        Just(Expr::Any),
        "[a-z]{1,4}".prop_map(Expr::Capture),
        "[a-z]{1,4}".prop_map(Expr::Variable),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let boxed = || inner.clone().prop_map(|expr| Box::new(spanned(expr)));
        let many = || prop::collection::vec(inner.clone().prop_map(spanned), 0..3);
        let pattern = prop_oneof![
            Just(Pattern::Zero),
            Just(Pattern::Any),
            any::<u64>().prop_map(Pattern::Digest),
            boxed().prop_map(Pattern::Fill),
            boxed().prop_map(Pattern::Place),
        ];
        let part = prop_oneof![
            (pattern, boxed())
                .prop_map(|(pattern, count)| PartExpr { pattern, count: Some(count) }),
            any::<Vec<u8>>().prop_map(|hex| PartExpr { pattern: Pattern::Hex(hex), count: None }),
        ];
        let op = prop::sample::select(vec![
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Rem,
            BinaryOp::Eq,
            BinaryOp::Ne,
            BinaryOp::Lt,
            BinaryOp::Le,
            BinaryOp::Gt,
            BinaryOp::Ge,
            BinaryOp::Has,
            BinaryOp::Lacks,
            BinaryOp::And,
            BinaryOp::Or,
        ]);
        prop_oneof![
            many().prop_map(Expr::Set),
            prop::collection::vec((boxed(), boxed()), 1..3).prop_map(|pairs| {
                Expr::Set(pairs.into_iter().map(|(a, b)| spanned(Expr::Pair(a, b))).collect())
            }),
            prop::collection::vec(part, 1..3).prop_map(Expr::Payload),
            ("[a-z]{2,4}9", many()).prop_map(|(name, arguments)| Expr::Call(name, arguments)),
            boxed().prop_map(Expr::Not),
            (op, boxed(), boxed()).prop_map(|(op, a, b)| Expr::Binary(op, a, b)),
        ]
    })
}

proptest! {
    #[test]
    fn an_expression_reads_back_as_it_was(expr in any_expr()) {
        let printed = expr.to_string();
        let read = parse_expr(&printed);
        prop_assert!(read.is_ok(), "{printed}: {read:?}");
        prop_assert_eq!(read.unwrap().node, expr, "{}", printed);
    }

    #[test]
    fn a_field_reads_back_as_it_was(expr in any_expr(), key in "(cookie|flags|data)") {
        let mut line = parse_line(&format!("C: x {key}=1")).unwrap();
        line.fields[0].value.node = expr;
        let printed = line.to_string();
        let read = parse_line(&printed);
        prop_assert!(read.is_ok(), "{printed}: {read:?}");
        prop_assert_eq!(read.unwrap().fields, line.fields, "{}", printed);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC*|[-CS:@=!<>(){}$?_\\[\\]# a-z0-9*+\"\n]{0,60}") {
        let _ = parse_line(&text);
        let _ = parse_expr(&text);
    }
}
