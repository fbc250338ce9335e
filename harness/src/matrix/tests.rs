use super::terminal::Look;
use super::*;
use crate::finding::Verdict;
use crate::run::SkipKind;

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
            row("", "qemu feature level", vec![Cell::plain("8.2"), Cell::plain("2.6")]),
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

fn tested(name: &str, scenarios: Vec<tested::Scenario>) -> tested::Tested {
    tested::Tested {
        name: name.to_owned(),
        version: Some("1.2".to_owned()),
        problem: None,
        scenarios,
        offers: crate::run::milestones::offers(std::iter::empty()),
    }
}

fn scenario(since: &str, feature: &str, verdict: Verdict) -> tested::Scenario {
    tested::Scenario {
        id: format!("{since}/{feature}"),
        feature: feature.to_owned(),
        since: since.parse().unwrap(),
        verdict,
        known: false,
        skipped: None,
        reason: Some("as it was".to_owned()),
        requirement: None,
    }
}

#[test]
fn features_are_judged_by_offers_and_scenarios() {
    let mut good = tested(
        "good",
        vec![
            scenario("2.8", "WRITE_ZEROES", Verdict::Pass),
            scenario("2.10", "WRITE_ZEROES", Verdict::Pass),
            scenario("2.10", "malformed NBD_OPT_GO", Verdict::Warn),
            scenario("4.2", "CAN_MULTI_CONN", Verdict::Fail),
            scenario("7.1", "CAN_MULTI_CONN", Verdict::Pass),
            scenario("3.0", "CACHE", Verdict::Skip),
        ],
    );
    for offer in &mut good.offers {
        offer.offered = Some(true);
    }
    let mut poor = tested(
        "poor",
        vec![
            // It tests those who do not offer it.
            scenario("3.0", "CACHE", Verdict::Pass),
            scenario("2.11", "structured replies", Verdict::Skip),
            tested::Scenario { known: true, ..scenario("4.2", "FAST_ZERO", Verdict::Fail) },
            scenario("8.2", "extended headers", Verdict::Error),
        ],
    );
    poor.scenarios[1].skipped = Some(SkipKind::NotOffered);
    for offer in &mut poor.offers {
        offer.offered = (offer.name == "CACHE").then_some(false);
    }
    poor.problem = Some("it died".to_owned());
    insta::assert_snapshot!(terminal::render(&[features::grid(&[good, poor])], Look::default()));
}

#[test]
fn what_a_run_wrote_can_be_read_again() {
    let run = crate::report::tests::mixed();
    let text = crate::report::json::render(std::slice::from_ref(&run)).unwrap();
    let read = tested::parse(text.as_bytes()).unwrap();
    let mut wanted = tested::Tested::from(&run);
    // Whether a failure is known is kept; the reason why is the run's own.
    assert_eq!(read[0].scenarios.iter().filter(|one| one.known).count(), 1);
    for (one, other) in wanted.scenarios.iter_mut().zip(&read[0].scenarios) {
        one.reason.clone_from(&other.reason);
    }
    assert_eq!(read, [wanted]);
    let text = crate::report::json::render(&[run.clone(), run]).unwrap();
    assert_eq!(tested::parse(text.as_bytes()).unwrap().len(), 2);
    assert!(tested::parse(b"{\"grids\": []}").is_err());
}
