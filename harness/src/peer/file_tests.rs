//! Peer files, good and bad.

use std::path::PathBuf;

use super::command::shown;
use super::file::Text;
use super::*;

const SERVER: &str = r#"
format = 1
kind = "server"
name = "mine"
title = "my server"
program = "./mine"
install = "build it"
[version]
args = ["--version"]
pattern = "mine {version}"
[start]
args = ["{listen}", "{args}"]
[listen]
tcp = ["-p", "{port}"]
[configuration.default]
image = { size = "16MiB", content = "known" }
args = ["{image}"]
[configuration."size-*"]
like = "default"
image = { size = "{value}", content = "known" }
[cannot]
"block-*" = "it has no block sizes"
"#;

/// What is said of the file with one piece of it replaced, or `fine`.
fn with(from: &str, to: &str) -> String {
    assert!(SERVER.contains(from));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, SERVER.replace(from, to)).unwrap();
    match PeerFile::load(&path) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string().replace(&dir.path().display().to_string(), "<dir>"),
    }
}

#[test]
fn shipped_files_are_good_and_named_after_their_peers() {
    assert_eq!(shipped_servers(), ["nbd-server", "nbdkit", "qemu-nbd", "qemu-storage-daemon"]);
    for name in shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(peer.name(), name);
        assert!(peer.supports("default").is_ok() && peer.supports("blank").is_ok());
    }
    let clients = ["nbd-client", "nbdcopy", "nbdinfo", "nbdsh", "qemu-img", "qemu-io"];
    assert_eq!(shipped_clients(), clients);
    for name in shipped_clients() {
        let client = ClientFile::builtin(&name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(client.name(), name);
    }
}

#[test]
fn every_wanted_configuration_is_given_or_refused_with_a_reason() {
    let wanted = [
        "default",
        "blank",
        "read-only",
        "odd-size",
        "size-1",
        "size-511",
        "size-513",
        "block-512",
        "block-4096",
        "large",
        "many",
        "no-list",
        "oldstyle",
        "newstyle",
        "no-structured",
        "no-zeroes",
        "no-fast-zero",
        "no-cache",
        "errors",
        "slow",
        "multi-conn",
        "single-conn",
        "bitmap",
        "backing",
    ];
    for name in shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        for wanted in wanted {
            if let Err(reason) = peer.supports(wanted) {
                assert!(!reason.contains("is not described as"), "{name}: {wanted}: {reason}");
            }
        }
    }
}

#[test]
fn a_family_of_configurations_takes_a_number() {
    let peer = PeerFile::builtin("qemu-nbd").unwrap();
    assert_eq!(peer.supports("size-1MiB"), Ok(()));
    assert!(peer.supports("size-many").is_err());
    let peer = PeerFile::builtin("nbd-server").unwrap();
    let reason = peer.supports("block-4096").unwrap_err();
    assert_eq!(reason, "nbd-server advertises no block sizes");
    let reason = peer.supports("writable").unwrap_err();
    assert_eq!(reason, "nbd-server is not described as `writable`");
}

#[test]
fn an_unknown_peer_is_answered_with_the_nearest() {
    insta::assert_snapshot!(PeerFile::find("qemunbd").unwrap_err(), @r"
    there is no peer `qemunbd`
    hint: did you mean `qemu-nbd`?
    ");
    insta::assert_snapshot!(ClientFile::find("curl").unwrap_err(), @r"
    there is no peer `curl`
    hint: shipped are `nbd-client`, `nbdcopy`, `nbdinfo`, `nbdsh`, `qemu-img`, `qemu-io`; a path has a `/` in it
    ");
    insta::assert_snapshot!(PeerFile::find("./none.toml").unwrap_err(), @"`./none.toml` can't be read: No such file or directory (os error 2)");
}

#[test]
fn mistakes_are_told_with_their_place() {
    assert_eq!(with("mine", "mine"), "fine");
    insta::assert_snapshot!(with("install =", "instal ="), @r#"
    `<dir>/mine.toml` is not a peer file: TOML parse error at line 7, column 1
      |
    7 | instal = "build it"
      | ^^^^^^
    unknown field `instal`, expected one of `format`, `kind`, `name`, `title`, `program`, `install`, `env`, `version`, `known`, `start`, `listen`, `listen-tls`, `tls`, `configuration`, `cannot`
    hint: did you mean `install`?
    "#);
    insta::assert_snapshot!(with("format = 1", "format = 2"), @"`<dir>/mine.toml` is not a peer file: `format = 2` is not known here, only `format = 1`");
    insta::assert_snapshot!(with(r#"kind = "server""#, r#"kind = "client""#), @r#"
    `<dir>/mine.toml` is not a peer file: TOML parse error at line 3, column 8
      |
    3 | kind = "client"
      |        ^^^^^^^^
    unknown variant `client`, expected `server`
    "#);
    insta::assert_snapshot!(with("install =", "known = \"qemu\"\ninstall ="), @"`<dir>/mine.toml` is not a peer file: `known`: there is no record of `qemu`");
    assert_eq!(with("install =", "known = \"qemu-nbd\"\ninstall ="), "fine");
    insta::assert_snapshot!(with(r#""{image}""#, r#""{imgae}""#), @r"
    `<dir>/mine.toml` is not a peer file: `configuration.default`: `{imgae}` is not a placeholder
    hint: known here: `{port}` `{socket}` `{image}` `{dir}` `{size}` `{pidfile}` `{name}` `{value}` `{tls-dir}`
    ");
    insta::assert_snapshot!(with("16MiB", "16MB"), @r"
    `<dir>/mine.toml` is not a peer file: `configuration.default`: `16MB` is not a size
    hint: a size is like `16MiB`, `511`, `{value}`
    ");
    insta::assert_snapshot!(with(r#"like = "default""#, r#"like = "defualt""#), @r"
    `<dir>/mine.toml` is not a peer file: `configuration.size-*`: `like` names a configuration that does not exist: `defualt`
    hint: did you mean `default`?
    ");
    insta::assert_snapshot!(with(r#"like = "default""#, r#"like = "size-*""#), @"`<dir>/mine.toml` is not a peer file: `configuration.size-*`: `like` goes in a circle");
    insta::assert_snapshot!(with("mine {version}", "mine"), @"`<dir>/mine.toml` is not a peer file: `version.pattern` needs one `{version}`");
    insta::assert_snapshot!(with(r#""block-*""#, r#""default""#), @"`<dir>/mine.toml` is not a peer file: `configuration.default`: `[cannot]` says that it can't be given");
    insta::assert_snapshot!(
        with(r#"args = ["{image}"]"#, r#"files = [{ path = "../x", text = "" }]"#), @r"
    `<dir>/mine.toml` is not a peer file: `configuration.default`: the path `../x` must lie below `{dir}`
    hint: write only what comes after it
    "
    );
    insta::assert_snapshot!(
        with(r#"args = ["{image}"]"#, r#"files = [{ path = "x" }]"#), @"`<dir>/mine.toml` is not a peer file: `configuration.default`: the file `x` needs either `text` or `image`"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_comes_with_advice() {
    let peer = PeerFile::builtin("nbdkit").unwrap().with_program(&PathBuf::from("/none/nbdkit"));
    insta::assert_snapshot!(peer.start("default").await.unwrap_err(), @r"
    `/none/nbdkit` is not installed
    hint: apt-get install nbdkit
    ");
    insta::assert_snapshot!(peer.version().await.unwrap_err(), @r"
    `/none/nbdkit` is not installed
    hint: apt-get install nbdkit
    ");
}

#[test]
fn a_relative_program_is_beside_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, SERVER).unwrap();
    let server = Text::load(&path).unwrap().server().unwrap();
    assert_eq!(server.common.program, dir.path().join("./mine").display().to_string());
}

#[test]
fn commands_are_shown_as_one_would_type_them() {
    let args = ["-x", "a disk", "", "it's"].map(str::to_owned);
    assert_eq!(shown("qemu-nbd", &args), r"qemu-nbd -x 'a disk' '' 'it'\''s'");
}
