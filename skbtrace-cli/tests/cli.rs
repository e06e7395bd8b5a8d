//! The real binary where it needs neither root nor a kernel to trace: what it refuses, what it
//! generates, on which stream and with which exit code.

use assert_cmd::{Command, assert::Assert};

fn skbtrace(arguments: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        .args(arguments)
        .assert()
}

/// What was printed on success, where nothing may be on standard error.
fn printed(arguments: &[&str]) -> String {
    let assert = skbtrace(arguments).code(0).stderr("");
    String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8")
}

/// What was complained about, where nothing may be on standard output.
fn refused(arguments: &[&str]) -> String {
    let assert = skbtrace(arguments).code(2).stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8")
}

#[test]
fn refusals_name_the_option_and_the_value() {
    for (arguments, option, value) in [
        (["-H", "example.com"], "--host", "getent hosts example.com"),
        (["--src", "10.0.0.0/33"], "--src", "10.0.0.0/33"),
        (["-P", "65536"], "--port", "65536"),
        (["--proto", "tpc"], "--proto", "tpc"),
        (["-i", "sixteen-bytes-xx"], "--iface", "sixteen-bytes-xx"),
        (["-p", "init"], "--pid", "init"),
        (["--buffer", "2G"], "--buffer", "2G"),
        (["--func", "("], "--func", "("),
        (["-N", "no-such-netns"], "--netns", "no-such-netns"),
        (["-N", "/dev/null"], "--netns", "/dev/null"),
        (["-N", "pid:4194305"], "--netns", "4194305"),
    ] {
        let message = refused(&arguments);
        assert!(message.contains(option), "{message}");
        assert!(message.contains(value), "{message}");
    }
}

#[test]
fn refusals_of_combinations() {
    let ports = (1..=17).map(|port| port.to_string()).collect::<Vec<_>>();
    let message = refused(&["-P", &ports.join(",")]);
    assert!(
        message.contains("--port") && message.contains("16"),
        "{message}"
    );
    let message = refused(&["--src", "10.0.0.1", "--dst", "fd00::1"]);
    assert!(message.contains("exclude each other"), "{message}");
    let message = refused(&["-t", "-T"]);
    assert!(message.contains("--timestamp"), "{message}");
}

#[test]
fn captures_and_what_they_exclude() {
    for (arguments, words) in [
        (&["--pcapng", "-", "--print"][..], "standard output"),
        (&["-w", "x", "--pcapng", "x"], "--write names the same file"),
        (&["replay", "x", "-w", "y", "--snaplen", "64"], "--snaplen"),
        (&["replay", "x", "--pcapng", "x"], "cannot read x"),
    ] {
        let message = refused(arguments);
        assert!(message.contains(words), "{message}");
    }
    let recording = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/recordings/6.12/vxlan.skb"
    );
    let message = refused(&["replay", recording, "--pcapng", recording]);
    assert!(
        message.contains("cannot replace the recording"),
        "{message}"
    );
    let capture = skbtrace(&["replay", recording, "--pcapng", "-"]).code(0);
    let bytes = &capture.get_output().stdout;
    assert!(
        bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]),
        "a section header"
    );
    let message = refused(&["replay", recording, "--pcapng", "/dev/full"]);
    assert!(
        message.contains("/dev/full") && message.contains("--pcapng"),
        "{message}"
    );
}

#[test]
fn top_needs_a_terminal() {
    let message = refused(&["top", "-H", "10.0.0.1"]);
    assert!(message.contains("no terminal") && message.contains("--format summary"));
}

/// A name is a bind mount on an empty file, which takes a mount namespace of its own to make.
#[test]
fn named_namespaces_are_found() {
    let script = "
        mount -t tmpfs none /run && mkdir /run/netns && cd /run/netns || exit 77
        touch red 7 uts plain
        mount --bind /proc/self/ns/net red && mount --bind /proc/self/ns/net 7 || exit 77
        mount --bind /proc/self/ns/uts uts || exit 77
        for name in red 7 ./red /run/netns/red uts plain blue; do
            \"$0\" --netns $name --func no-such-function 2>&1 | cut -d' ' -f2,3
        done";
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_skbtrace"))
        .output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        eprintln!("skipped: no namespaces can be made here");
        return;
    };
    // A namespace that is found lets the next wrong option be noticed.
    let found = "--func no-such-function:\n";
    let expected = found.repeat(4) + "--netns uts:\n--netns plain:\n--netns blue:\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    Command::new(env!("CARGO_BIN_EXE_skbtrace"))
        .arg("-H")
        .arg(OsStr::from_bytes(b"\xff"))
        .assert()
        .code(2)
        .stdout("");
}

#[test]
fn version_names_the_commit() {
    let version = printed(&["--version"]);
    assert!(version.starts_with(concat!("skbtrace ", env!("CARGO_PKG_VERSION"))));
    assert!(version.contains("(commit "), "{version}");
    assert_eq!(printed(&["-V"]), version);
}

#[test]
fn both_forms_of_help_are_the_same() {
    let help = printed(&["--help"]);
    assert!(help.contains("sudo skbtrace --route --iptable -H 172.18.0.15 --proto udp"));
    assert_eq!(printed(&["-h"]), help);
}

#[test]
fn completions_know_the_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for option in ["iptable", "ready-file"] {
            assert!(script.contains(option), "{shell}: {option}");
        }
    }
}

#[test]
fn the_manual_page_is_complete() {
    let page = printed(&["man"]);
    for part in [
        ".TH skbtrace 8",
        ".SH HOOKS",
        ".SH FILTERS",
        ".SH COMMANDS",
        ".SH EXAMPLES",
        ".SH EXIT STATUS",
        "skbtrace hooks",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
