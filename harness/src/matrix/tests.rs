use super::terminal::Look;
use super::*;

fn grid() -> Grid {
    let row = |group: &str, name: &str, cells: Vec<Cell>| Row {
        group: Some(group.to_owned()),
        name: name.to_owned(),
        cells,
    };
    Grid {
        title: "features by version".to_owned(),
        corner: ("feature".to_owned(), "since".to_owned()),
        columns: vec![
            Column { name: "self".to_owned(), detail: Some("0.1.0".to_owned()) },
            Column { name: "<script>".to_owned(), detail: Some("x|y \u{1b}[31m".to_owned()) },
        ],
        rows: vec![
            row("2.6", "STARTTLS", vec![Cell::new(Mark::Pass).with_text("pass 4/4")]),
            row(
                "2.10",
                "NBD_OPT_GO",
                vec![
                    Cell::new(Mark::Fail).with_note("a name of `<b>` & \"quotes\""),
                    Cell::new(Mark::NotOffered).with_note("S: NBD_REP_ERR_UNSUP\nand *more*"),
                ],
            ),
            row("", "level with qemu", vec![Cell::plain("8.2"), Cell::plain("2.6")]),
        ],
        remarks: vec!["level: the newest version whose every feature is offered".to_owned()],
    }
}

#[test]
fn as_text() {
    insta::assert_snapshot!(terminal::render(&[grid()], Look::default()));
}

#[test]
fn as_json() {
    insta::assert_snapshot!(json::render(&[grid()]).unwrap());
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(markdown::render(&[grid()]));
}

#[test]
fn as_html() {
    let page = html::render("matrix", &[grid()]);
    // The style is the page's, not the grid's.
    let body = page.split_once("<body>").unwrap().1;
    insta::assert_snapshot!(body.replace("<tr>", "\n<tr>").replace("<li>", "\n<li>"));
    assert!(!body.contains("<script>") && !page.contains('\u{1b}'));
}

#[test]
fn what_is_too_wide_is_cut_into_several_tables() {
    let cell = |row: usize, at: usize| {
        Cell::new(Mark::ALL[(row + at) % Mark::ALL.len()]).with_text("TLS SR base:allocation EH")
    };
    let wide = Grid {
        title: "clients against servers".to_owned(),
        corner: ("client".to_owned(), String::new()),
        columns: (0..14).map(|at| Column::new(format!("self@{at}.0"))).collect(),
        rows: (0..3)
            .map(|row| Row {
                group: None,
                name: format!("self@2.{row}"),
                cells: (0..14).map(|at| cell(row, at)).collect(),
            })
            .collect(),
        remarks: Vec::new(),
    };
    for width in [100, 120] {
        for colour in [false, true] {
            let text = terminal::render(std::slice::from_ref(&wide), Look { width, colour });
            assert_eq!(text.contains('\u{1b}'), colour);
            let plain = anstream::adapter::strip_str(&text).to_string();
            let widest = plain.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width.into()), "{widest:?} > {width}\n{plain}");
            assert!(plain.contains("self@13.0"), "{plain}");
        }
    }
}
