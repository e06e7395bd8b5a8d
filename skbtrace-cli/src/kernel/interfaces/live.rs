//! Interfaces of a real kernel, in network namespaces of the test's own.
//!
//! The test runs itself once more under `unshare`, which needs no root where user namespaces are
//! allowed. It makes no interface whose module is not there already: the machine's kernel loads
//! nothing for a test.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::Reader;
use crate::kernel::netns;

const INSIDE: &str = "SKBTRACE_TEST_IN_NETNS";
const NAME: &str = "kernel::interfaces::live::interfaces_of_two_namespaces";

/// Whether making an interface of this kind loads nothing.
fn is_there(module: &str) -> bool {
    // A kernel without modules has all that it will ever have.
    let Ok(loaded) = fs::read_to_string("/proc/modules") else {
        return true;
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let list = format!("/lib/modules/{}/modules.builtin", release.trim());
    loaded
        .lines()
        .any(|line| line.starts_with(&format!("{module} ")))
        || fs::read_to_string(list).is_ok_and(|list| list.contains(&format!("/{module}.ko")))
}

/// Makes an interface; what `ip` says where this kernel, or nobody at all, can.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let lacking = ["Unknown device type", "not supported", "not permitted"];
    if lacking.iter().any(|words| told.contains(words)) {
        return Err(told);
    }
    assert!(output.status.success(), "ip {arguments}: {told}");
    Ok(())
}

fn unshared() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]);
    command
}

#[test]
fn interfaces_of_two_namespaces() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let allowed = unshared()
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("SKIP: unshare --user --net is not there or not allowed");
        return;
    }
    let output = unshared()
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
    for line in told.lines().filter(|line| line.starts_with("SKIP")) {
        eprintln!("{line}");
    }
}

fn inside() {
    let ours = netns::current().expect("/proc");
    let look = || {
        std::thread::spawn(|| Reader::new().read())
            .join()
            .expect("no panic")
    };
    assert_eq!(look().link(ours, 1), Some(&b"loopback"[..]));
    assert_eq!(look().link(ours, 99), None);

    if !["veth", "bridge", "vxlan"].into_iter().all(is_there) {
        eprintln!("SKIP: veth, bridge or vxlan would have to be loaded");
        return;
    }
    // Lives in another namespace until its input ends.
    let mut other = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo there; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut line = String::new();
    let stdout = other.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "there\n");
    let pid = other.id();

    let made = [
        "link add cbr0 index 20 type bridge".to_owned(),
        "link add vx index 21 type vxlan id 100 dstport 4789".to_owned(),
        format!(
            "link add veth1 index 22 master cbr0 type veth peer name eth0 index 30 netns {pid}"
        ),
        "link add va index 23 type veth peer name vb index 24".to_owned(),
    ];
    let made = made.iter().try_for_each(|arguments| ip(arguments));
    let seen = look();
    let theirs = netns::resolve(&netns::NetnsSpec::Process(pid)).expect("it runs");
    drop(other.stdin.take());
    other.wait().expect("it ends with its input");
    if let Err(reason) = made {
        eprintln!("SKIP: {}", reason.trim());
        return;
    }

    let called = seen.netns(theirs).expect("by its process").to_owned();
    assert!(called.starts_with(&format!("{pid}/")), "{called}");
    let text = |netns, index| {
        let text = seen.link(netns, index).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    assert_eq!(text(ours, 20), "bridge");
    assert_eq!(text(ours, 21), "vxlan:100");
    assert_eq!(text(ours, 22), format!("veth@eth0.{called},port-of:cbr0"));
    assert_eq!(text(ours, 23), "veth@vb");
    assert_eq!(text(ours, 24), "veth@va");
    let back = seen.netns(ours).expect("by this process");
    assert_eq!(text(theirs, 30), format!("veth@veth1.{back}"));
}
