//! Servers that nobody here configured, in Python (`strangers/`): each has one fault, or is odd and
//! lawful. They are tested as a newcomer would, by `run --target`; the fault is named, nothing else
//! is blamed, and it costs a stated time and memory.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A server that somebody else wrote, as a process.
struct Stranger {
    child: Child,
    address: String,
}

impl Stranger {
    /// Starts `strangers/NAME.py` on a free port.
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same, with arguments of its own.
    fn start_with(name: &str, args: &[&str]) -> Self {
        let script = format!("{}/tests/strangers/{name}.py", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("python3")
            .args(["-B", &script, "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        std::io::BufReader::new(out).read_line(&mut line).expect("an address");
        Self { child, address: line.trim().to_owned() }
    }

    /// Runs the suite against it.
    fn tested(&self, args: &[&str]) -> Tested {
        let folder = tempfile::tempdir().expect("a folder");
        let json = folder.path().join("run.json");
        let report = format!("json={}", json.display());
        let began = Instant::now();
        let mut command = Command::new("python3");
        command.args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers/measure.py")]);
        command.arg(env!("CARGO_BIN_EXE_nbdcheck"));
        command.args(["run", "--color", "never", "--target", &self.address, "--allow-write"]);
        let output = command.args(["--report", &report]).args(args).output().expect("it runs");
        let took = began.elapsed();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let peak =
            said.lines().rev().find_map(|line| line.strip_prefix("peak KiB: ")?.parse().ok());
        let json = std::fs::read(json).expect("a report");
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        let status = output.status.code().expect("no signal ended it");
        println!("{}: {took:.1?}, {} MiB", self.address, peak.unwrap_or(0) / 1024);
        Tested { status, text, said, json, took, peak: peak.unwrap_or(u64::MAX) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of it.
struct Tested {
    status: i32,
    text: String,
    /// What was said on standard error.
    said: String,
    json: Value,
    took: Duration,
    /// The most memory it had, in KiB.
    peak: u64,
}

impl Tested {
    fn scenarios(&self) -> &[Value] {
        self.json["scenarios"].as_array().expect("scenarios")
    }

    /// The scenarios with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let all = self.scenarios().iter().filter(|it| it["verdict"] == verdict);
        all.filter_map(|it| it["id"].as_str()).collect()
    }

    /// Why the run has no verdict, or has not come to its end.
    fn problem(&self) -> &str {
        self.json["problem"].as_str().unwrap_or_default()
    }

    /// Nothing was found against it.
    fn is_spotless(&self) {
        assert_eq!(self.status, 0, "{}", self.text);
        for verdict in ["warn", "fail", "error"] {
            assert_eq!(self.with(verdict), [""; 0], "{}", self.text);
        }
    }

    /// `seconds` are those of a machine that does nothing else; what has no limit takes far longer.
    fn within(&self, seconds: u64, mib: u64) -> &Self {
        assert!(self.took < Duration::from_secs(3 * seconds), "{:?}\n{}", self.took, self.text);
        assert!(self.peak <= mib * 1024, "{} KiB\n{}", self.peak, self.text);
        self
    }
}

/// How much memory any server may make us take, in MiB.
const MIB: u64 = 256;

#[test]
fn a_server_that_dies_is_named_with_what_it_died_of_and_the_rest_is_not_run() {
    let tested = Stranger::start("dies").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    let problem = tested.problem();
    assert!(problem.starts_with("the server stopped answering after "), "{problem}");
    assert!(problem.contains("last message: C: NBD_CMD_TRIM"), "{problem}");
    assert!(tested.text.contains(&format!("FAIL: {problem}")), "{}", tested.text);
    assert_eq!(tested.with("fail").len(), 1, "{}", tested.text);
    assert_eq!(tested.with("error"), [""; 0], "{}", tested.text);
    let left = tested.scenarios().iter().filter(|it| it["skipped"] == "not-run");
    assert!(left.count() > 100, "{}", tested.text);
}

#[test]
fn a_server_that_wedges_is_named_with_what_it_wedged_at() {
    let tested = Stranger::start("wedges").tested(&["--timeout", "1"]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.problem().contains("last message: C: NBD_CMD_TRIM"), "{}", tested.problem());
    assert_eq!(tested.with("fail").len(), 1, "{}", tested.text);
}

#[test]
fn a_server_that_wedges_as_it_lawfully_closes_is_named_with_that() {
    let tested = Stranger::start("wedges-at-a-close").tested(&["--timeout", "1"]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    let problem = tested.problem();
    assert!(problem.contains("last message: C: NBD_OPT_EXPORT_NAME name="), "{problem}");
    assert_eq!(tested.with("fail").len(), 1, "{}", tested.text);
}

#[test]
fn a_mute_server_costs_one_wait() {
    let tested = Stranger::start("mute").tested(&[]);
    tested.within(30, MIB);
    assert_eq!(tested.status, 3, "{}", tested.text);
    assert!(tested.problem().starts_with("no greeting comes from "), "{}", tested.problem());
}

#[test]
fn a_server_that_greets_and_falls_silent_is_given_up() {
    let tested = Stranger::start("mute-after-greeting").tested(&["--timeout", "2"]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.problem().contains("answers nothing"), "{}", tested.problem());
}

/// The rules that fail scenarios.
fn failing(tested: &Tested) -> BTreeSet<&str> {
    let failures = tested.findings().filter(|it| it["level"].as_str().is_some_and(is_binding));
    failures.filter_map(|it| it["requirement"].as_str()).collect()
}

/// The rules that are warned of.
fn warning(tested: &Tested) -> BTreeSet<&str> {
    let all = tested.scenarios().iter().filter_map(|it| it["findings"].as_array()).flatten();
    let wishes = all.filter(|it| it["level"].as_str().is_some_and(|level| !is_binding(level)));
    wishes.filter_map(|it| it["requirement"].as_str()).collect()
}

fn is_binding(level: &str) -> bool {
    level.starts_with("MUST")
}

impl Tested {
    /// The findings of the scenarios that failed.
    fn findings(&self) -> impl Iterator<Item = &Value> {
        let failed = self.scenarios().iter().filter(|it| it["verdict"] == "fail");
        failed.filter_map(|it| it["findings"].as_array()).flatten()
    }

    fn says(&self, words: &str) -> bool {
        self.findings().any(|it| it["message"].as_str().is_some_and(|text| text.contains(words)))
    }

    fn ran(&self) -> usize {
        ["pass", "warn", "fail"].iter().map(|verdict| self.with(verdict).len()).sum()
    }
}

#[test]
fn a_list_of_bare_names_is_blamed_for_that_and_the_rest_is_tested() {
    let tested = Stranger::start("list-bare-names").tested(&[]);
    // 9 s on a machine that does nothing else.
    tested.within(40, MIB);
    let rules = failing(&tested);
    let right = ["rep-server-name-length", "option-reply-one-final"];
    assert!(right.iter().all(|rule| rules.contains(rule)), "{rules:?}");
    let follows = ["baseline-list"];
    let rest: Vec<_> =
        rules.iter().filter(|it| !right.contains(it) && !follows.contains(it)).collect();
    assert!(rest.is_empty(), "{rest:?}\n{}", tested.text);
    assert!(tested.with("pass").len() >= 200, "{}", tested.text);
}

#[test]
fn options_in_the_other_byte_order_are_one_finding() {
    let tested = Stranger::start("option-field-swapped").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(failing(&tested), BTreeSet::from(["option-reply-echoes-option"]), "{}", tested.text);
    assert!(tested.says("(it is in the other byte order)"), "{}", tested.text);
    assert!(tested.text.lines().count() < 60, "{}", tested.text);
    assert!(tested.ran() >= 240, "{}", tested.text);
}

#[test]
fn data_that_is_announced_and_does_not_come_is_told_as_that() {
    let tested = Stranger::start("read-header-first").tested(&["--timeout", "2"]);
    tested.within(120, MIB);
    assert!(failing(&tested).contains("simple-reply-read-payload"), "{}", tested.text);
    assert!(!failing(&tested).contains("cookie-echoed"), "{}", tested.text);
    assert!(tested.says("announced 512 bytes of data, 0 came (16 of 528 bytes of the message)"));
    assert!(!tested.says("timeout: nothing for"), "{}", tested.text);
}

#[test]
fn an_answer_to_disc_costs_no_waits() {
    let tested = Stranger::start("disc-answered").tested(&[]);
    // 4 s on a machine that does nothing else.
    tested.within(30, MIB);
    let rules = failing(&tested);
    for rule in ["disc-no-reply", "disc-server-closes"] {
        assert!(rules.contains(rule), "{rule} in {rules:?}\n{}", tested.text);
    }
}

#[test]
fn a_server_that_stays_after_disc_costs_a_wait_for_each_scenario_about_that_only() {
    let tested = Stranger::start("stays-at-disc").tested(&[]);
    // 16 s on a machine that does nothing else.
    tested.within(30, MIB);
    assert_eq!(failing(&tested), BTreeSet::from(["disc-server-closes"]), "{}", tested.text);
    assert_eq!(tested.json["causes"].as_array().map(Vec::len), Some(1), "{}", tested.text);
}

#[test]
fn simple_replies_under_extended_headers_are_seen_at_once() {
    let tested = Stranger::start("extended-simple-writes").tested(&[]);
    tested.within(60, MIB);
    let rules = failing(&tested);
    assert!(rules.contains("ext-no-simple-reply"), "{rules:?}\n{}", tested.text);
    assert!(rules.iter().all(|rule| rule.starts_with("ext-")), "{rules:?}\n{}", tested.text);
    assert!(!tested.says("timeout"), "{}", tested.text);
    assert!(tested.with("pass").len() >= 200, "{}", tested.text);
}

#[test]
fn info_and_go_that_differ_are_blamed_for_that_alone() {
    let tested = Stranger::start("info-size-zero").tested(&[]);
    tested.within(90, MIB);
    assert_eq!(failing(&tested), BTreeSet::from(["opt-info-go-consistent"]), "{}", tested.text);
    assert!(tested.with("pass").len() >= 200, "{}", tested.text);
}

#[test]
fn chunks_without_end_end_their_scenario() {
    let tested = Stranger::start("endless-chunks").tested(&[]);
    tested.within(120, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.ran() >= 150, "{}", tested.text);
}

#[test]
fn data_without_end_ends_its_scenario() {
    let tested = Stranger::start("endless-data").tested(&[]);
    tested.within(120, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.ran() >= 150, "{}", tested.text);
}

#[test]
fn a_server_that_resets_sessions_that_have_taken_leave_is_lawful() {
    Stranger::start("resets-at-disc").tested(&[]).within(60, MIB).is_spotless();
}

#[test]
fn a_slow_server_is_told_to_be_slow_with_what_helps() {
    let tested = Stranger::start("slow").tested(&["--scenario", "2.6-base"]);
    tested.within(60, MIB).is_spotless();
    assert!(tested.said.contains("note: the server is slow: a read takes "), "{}", tested.said);
    for option in ["--scenario", "--max-time", "--jobs"] {
        assert!(tested.said.contains(option), "{}", tested.said);
    }
}

#[test]
fn a_server_that_resets_every_second_connection_is_no_dead_one() {
    let tested = Stranger::start("resets-every-second").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.ran() >= 50, "{}", tested.text);
}

/// A server that stops answering while it is asked what it offers has failed, and is told with what it
/// was asked; nothing of the rest is run.
fn stops_at(tested: &Tested, asked: &str, why: &str) {
    tested.within(30, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    let begin = format!("the server stopped answering after the survey; last asked for: {asked}; ");
    let problem = tested.problem();
    assert!(problem.starts_with(&begin) && problem.contains(why), "{problem}");
    assert!(tested.text.contains(&format!("FAIL: {problem}")), "{}", tested.text);
    assert!(tested.scenarios().iter().all(|it| it["skipped"] == "not-run"), "{}", tested.text);
}

#[test]
fn a_server_that_dies_while_it_is_surveyed_has_failed() {
    stops_at(&Stranger::start("dies-at-read").tested(&[]), "NBD_CMD_READ", "refused");
}

#[test]
fn a_server_that_stands_still_while_it_is_surveyed_has_failed() {
    let tested = Stranger::start("stops-at-write").tested(&["--timeout", "1"]);
    stops_at(&tested, "NBD_CMD_WRITE", "a fresh connection gets no greeting within 1 s");
}

#[test]
fn what_answers_an_unknown_option_is_one_rule_wherever_it_is_met() {
    let tested = Stranger::start("unknown-is-invalid").tested(&[]);
    tested.within(60, MIB);
    let right = BTreeSet::from(["opt-peek-export-withdrawn", "rep-err-unsup-meaning"]);
    assert_eq!(failing(&tested), right, "{}", tested.text);
}

#[test]
fn a_disk_for_each_connection_is_lawful_under_each_of_its_names() {
    Stranger::start("private-disks").tested(&[]).within(60, MIB).is_spotless();
}

#[test]
fn a_broken_disk_behind_another_export_is_no_fault_of_the_protocol() {
    let tested = Stranger::start("second-disk-fails").tested(&[]);
    tested.within(60, MIB).is_spotless();
    assert!(tested.with("pass").len() >= 240, "{}", tested.text);
}

#[test]
fn a_cache_that_is_written_back_late_is_lawful() {
    // Where scenarios compare what they wrote on several connections.
    let writing = ["--scenario", "2.6-*", "--scenario", "2.10-*", "--scenario", "2.8-*/*ed"];
    Stranger::start("writes-back").tested(&writing).is_spotless();
    Stranger::start_with("writes-back", &["--no-zeroes"]).tested(&writing).is_spotless();
}

#[test]
fn a_connection_that_was_left_has_ended_before_the_next_begins() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers/left.nbd");
    let tested = Stranger::start_with("writes-back", &["--late"]).tested(&["--scenario", script]);
    tested.is_spotless();
    assert_eq!(tested.with("pass").len(), 1, "{}", tested.text);
}

#[test]
fn a_server_that_insists_on_extended_headers_is_told_what_to_change() {
    let tested = Stranger::start("extended-only").tested(&[]);
    assert_eq!(tested.status, 3, "{}", tested.text);
    assert!(tested.problem().contains("NBD_REP_ERR_EXT_HEADER_REQD"), "{}", tested.problem());
    assert!(tested.text.contains("negotiated extended headers"), "{}", tested.text);
}

#[test]
fn the_honest_server_is_found_to_be_honest() {
    let tested = Stranger::start("honest").tested(&[]);
    tested.within(60, MIB).is_spotless();
    assert!(tested.with("pass").len() >= 240, "{}", tested.text);
}

#[test]
fn a_newstyle_server_without_the_fixed_flag_lacks_that_and_is_tested() {
    let tested = Stranger::start("newstyle").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.with("fail"), ["2.6-handshake/fixed-flag"], "{}", tested.text);
    let right = BTreeSet::from(["handshake-fixed-newstyle-flag"]);
    assert_eq!(failing(&tested), right, "{}", tested.text);
    assert!(tested.with("pass").len() >= 120, "{}", tested.text);
}

#[test]
fn a_server_whose_option_replies_are_malformed_is_entered_by_name_and_tested() {
    let areas = ["2.6-base/*", "2.6-read/*", "2.6-write/*", "2.6-disconnect/*", "2.6-options/*"];
    let chosen: Vec<&str> = areas.iter().flat_map(|area| ["--scenario", area]).collect();
    let tested = Stranger::start("short-option-replies").tested(&chosen);
    tested.within(60, MIB);
    let failed = tested.with("fail");
    let others: Vec<_> = failed.iter().filter(|id| !id.starts_with("2.6-options/")).collect();
    assert_eq!(others, [&"2.6-base/unknown-option"], "{}", tested.text);
    let line = "sends only a part of its answers to options";
    assert!(tested.text.contains(line), "{}", tested.text);
    assert!(failing(&tested).contains("option-reply-layout"), "{}", tested.text);
    // Content is laid without the options that have no answer.
    assert!(tested.with("pass").len() >= 50, "{}", tested.text);
    assert!(!tested.text.contains("waited too long"), "{}", tested.text);
}

#[test]
fn a_server_that_tells_of_holes_once_is_lawful() {
    Stranger::start("status-forgets-holes").tested(&[]).within(60, MIB).is_spotless();
}

#[test]
fn blocks_that_are_mixed_up_in_a_read_are_seen() {
    let tested = Stranger::start("cow-second-block").tested(&[]);
    tested.within(60, MIB);
    let rules = failing(&tested);
    assert!(rules.contains("write-stored"), "{rules:?}\n{}", tested.text);
    // The cookies are right, and so is what the chunks cover.
    for innocent in ["cookie-echoed", "read-structured-covers-request"] {
        assert!(!rules.contains(innocent), "{}", tested.text);
    }
}

#[test]
fn a_block_size_that_is_enforced_and_not_told_is_that_and_no_lack_of_the_command() {
    for name in ["zeroes-need-4k", "zeroes-need-4k-untold"] {
        let tested = Stranger::start(name).tested(&[]);
        tested.within(60, MIB);
        let right = BTreeSet::from(["size-server-advertises-enforced"]);
        assert_eq!(failing(&tested), right, "{}", tested.text);
        assert_eq!(tested.with("warn"), [""; 0], "{}", tested.text);
    }
}

#[test]
fn a_server_that_serves_less_than_it_told_breaks_that_rule_and_no_other() {
    let tested = Stranger::start("serves-64-kib").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(failing(&tested), BTreeSet::from(["size-server-advertises-enforced"]));
    assert_eq!(warning(&tested), BTreeSet::from(["size-default-max-32-mib"]), "{}", tested.text);
    assert!(tested.with("pass").len() >= 190, "{}", tested.text);
    let tested = Stranger::start("serves-64-kib-untold").tested(&[]);
    assert_eq!(tested.with("fail"), [""; 0], "{}", tested.text);
    assert_eq!(warning(&tested), BTreeSet::from(["size-default-max-32-mib"]), "{}", tested.text);
    assert!(tested.with("pass").len() >= 230, "{}", tested.text);
}

#[test]
fn a_server_that_hangs_up_at_what_it_does_not_know_is_tested_with_what_it_knows() {
    let tested = Stranger::start("hangs-up-at-unknown-options").tested(&[]);
    tested.within(60, MIB);
    let rules = failing(&tested);
    assert!(rules.contains("session-no-unjustified-hard-disconnect"), "{}", tested.text);
    // What was said before it hung up at an unknown option is not to blame, nor are replies that fail.
    assert!(!rules.contains("opt-info-go-malformed-invalid"), "{}", tested.text);
    assert!(!rules.contains("opt-info-export-required"), "{}", tested.text);
    assert!(tested.with("pass").len() >= 140, "{}", tested.text);
    assert!(!tested.text.contains("can't be given known content"), "{}", tested.text);
}

#[test]
fn a_server_that_hangs_up_at_a_command_it_offers_gets_content_without_it() {
    let tested = Stranger::start("hangs-up-at-zeroes").tested(&[]);
    tested.within(60, MIB);
    // Where requests were sent together, what was not answered is a rule as well.
    let right = BTreeSet::from(["reply-one-per-request", "session-no-unjustified-hard-disconnect"]);
    assert_eq!(failing(&tested), right, "{}", tested.text);
    assert!(tested.with("pass").len() >= 200, "{}", tested.text);
    assert!(!tested.text.contains("can't be given known content"), "{}", tested.text);
}

#[test]
fn errors_out_of_place_are_warnings_that_tell_which_is_right() {
    let tested = Stranger::start("errors-out-of-place").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 0, "{}", tested.text);
    assert_eq!(tested.with("fail"), [""; 0], "{}", tested.text);
    let right = BTreeSet::from([
        "error-unknown-command-einval",
        "error-unknown-flag-einval",
        "request-beyond-end-einval",
        "status-beyond-end-einval",
        "write-beyond-end-enospc",
        "write-zeroes-beyond-end-enospc",
    ]);
    assert_eq!(warning(&tested), right, "{}", tested.text);
    for expected in ["reply NBD_EINVAL", "reply NBD_ENOSPC"] {
        assert!(tested.text.contains(expected), "{}", tested.text);
    }
}

#[test]
fn a_maximum_that_is_not_meant_is_one_warning() {
    let tested = Stranger::start("info-maximum-is-a-block").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 0, "{}", tested.text);
    assert_eq!(warning(&tested), BTreeSet::from(["block-size-max-1-mib"]), "{}", tested.text);
    let remark = "maximum=4096 is smaller than 1048576; larger requests are served all the same";
    assert!(tested.text.contains(remark), "{}", tested.text);
}

#[test]
fn a_server_that_answers_no_request_is_told_so_and_its_handshake_is_tested() {
    let tested = Stranger::start("mute-in-transmission").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(failing(&tested).contains("reply-one-per-request"), "{}", tested.text);
    let left = tested.scenarios().iter().filter(|it| it["skipped"] == "not-run");
    let reasons: BTreeSet<_> = left.filter_map(|it| it["reason"].as_str()).collect();
    let right = BTreeSet::from(["not run: the server answers no request"]);
    assert_eq!(reasons, right, "{}", tested.text);
    assert!(tested.with("fail").len() < 20, "{}", tested.text);
    assert!(tested.with("pass").len() >= 25, "{}", tested.text);
}

#[test]
fn options_that_are_answered_without_end_cost_a_stated_time_and_the_rest_is_tested() {
    let tested = Stranger::start("endless-options").tested(&[]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(failing(&tested).contains("option-reply-one-final"), "{}", tested.text);
    assert!(tested.says("no end of the answer"), "{}", tested.text);
    assert!(tested.with("pass").len() >= 180, "{}", tested.text);
}

#[test]
fn bytes_that_trickle_are_told_as_that() {
    let tested = Stranger::start("dribbles").tested(&["--timeout", "3"]);
    tested.within(30, MIB);
    assert_eq!(tested.status, 3, "{}", tested.text);
    assert!(tested.problem().contains("of 8 bytes came within 3 s"), "{}", tested.problem());
    assert!(!tested.says("then nothing"), "{}", tested.text);
    let tested = Stranger::start("dribbles-in-transmission").tested(&["--timeout", "3"]);
    tested.within(60, MIB);
    assert_eq!(tested.status, 1, "{}", tested.text);
    assert!(tested.says("of 4 bytes came within"), "{}", tested.text);
    let left = tested.scenarios().iter().filter(|it| it["skipped"] == "not-run");
    assert!(left.count() > 200, "{}", tested.text);
}

#[test]
fn an_interrupt_is_heard_within_a_second_whatever_the_server_does() {
    let hostile =
        ["mute", "mute-in-transmission", "endless-options", "endless-chunks", "endless-data"];
    let hostile: Vec<_> = hostile.into_iter().chain(["dribbles"]).collect();
    for some in hostile.chunks(3) {
        std::thread::scope(|scope| {
            for name in some {
                scope.spawn(|| interrupt(name));
            }
        });
    }
}

/// In the survey, and amid the scenarios.
fn interrupt(name: &str) {
    let stranger = Stranger::start(name);
    for after in [1500, 5000] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
            .args(["run", "--color", "never", "--allow-write", "--target", &stranger.address])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(Duration::from_millis(after));
        let interrupted = Instant::now();
        kill_process(Pid::from_child(&run), Signal::INT).expect("it is not reaped yet");
        run.wait().expect("it ends");
        let took = interrupted.elapsed();
        println!("{name}: {took:.1?} after {after} ms");
        // A second is promised; other tests take a part of the machine.
        assert!(took < Duration::from_millis(1500), "{name}: {took:?} after {after} ms");
    }
}
