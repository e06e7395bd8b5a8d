//! The programs of the guest: busybox, and this machine's own network tools with their libraries.
//!
//! Taking the host's tools saves building or downloading a root file system, and a guest holds
//! exactly the iptables and iproute2 that the developer has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bird;
use crate::paths;
use crate::process;

/// Tools to take if the machine has them; `setup` installs the ones that the scenarios need.
/// The shells and the programs that start others are real ones because busybox, asked to start
/// `ip`, takes its own instead of searching PATH.
const TOOLS: &[&str] = &[
    "ip",
    "bridge",
    "tc",
    "ss",
    "ping",
    "nft",
    "xtables-legacy-multi",
    "xtables-nft-multi",
    "ebtables-legacy",
    "arptables-legacy",
    "conntrack",
    "ipvsadm",
    "wg",
    "ethtool",
    "tcpdump",
    "sh",
    "bash",
    "env",
    "timeout",
    "xargs",
    "nohup",
    "nice",
    "setsid",
    "unshare",
    "nsenter",
    "taskset",
];

/// What the two iptables programs answer to: (program, back end, command names).
const XTABLES: &[(&str, &str, &[&str])] = &[
    ("xtables-legacy-multi", "legacy", &["iptables", "ip6tables"]),
    (
        "xtables-nft-multi",
        "nft",
        &["iptables", "ip6tables", "ebtables", "arptables"],
    ),
];

/// Directories of plugins that the tools open at run time.
const PLUGINS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib64/xtables",
    "/usr/lib/xtables",
    "/lib64/xtables",
];

/// Terminal descriptions for the interactive shell.
const TERMINFO: &str = "/lib/terminfo";
const TERMINALS: &[&str] = &[
    "l/linux",
    "v/vt100",
    "v/vt220",
    "x/xterm",
    "x/xterm-256color",
    "s/screen",
    "s/screen-256color",
    "t/tmux-256color",
];

/// Configuration that turns names into numbers, copied if there.
const CONFIG: &[&str] = &["/etc/protocols", "/etc/services", "/etc/ethertypes"];

/// What to put where in the guest.
#[derive(Default)]
pub struct Userland {
    /// guest path -> host file
    pub files: BTreeMap<String, PathBuf>,
    /// guest path -> link target
    pub links: BTreeMap<String, String>,
}

/// The tools that there are, each with its file.
fn tools() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let own = TOOLS.iter().map(|&tool| (tool, paths::program(tool)));
    let birds = bird::PROGRAMS
        .iter()
        .map(|&tool| (tool, bird::program(tool)));
    own.chain(birds)
        .filter_map(|(tool, file)| Some((tool, file?)))
}

/// The host files whose change makes a cached archive stale.
pub fn inputs() -> Vec<PathBuf> {
    let tools = tools().map(|(_, file)| file);
    tools
        .chain(paths::program("busybox"))
        .chain(PLUGINS.iter().map(PathBuf::from))
        .collect()
}

pub fn collect() -> Result<Userland> {
    let mut land = Userland::default();
    let tools: BTreeMap<&str, PathBuf> = tools().collect();
    let mut dynamic: Vec<PathBuf> = tools.values().cloned().collect();
    for (tool, file) in &tools {
        land.files.insert(format!("usr/sbin/{tool}"), file.clone());
        land.links
            .insert(format!("usr/bin/{tool}"), format!("../sbin/{tool}"));
    }
    for dir in PLUGINS.iter().map(Path::new).filter(|dir| dir.is_dir()) {
        for entry in fs::read_dir(dir)
            .with_context(|| format!("cannot list {}", dir.display()))?
            .flatten()
        {
            dynamic.push(entry.path());
            land.files
                .insert(merged(&entry.path().to_string_lossy()), entry.path());
        }
    }
    for library in libraries(&dynamic)? {
        land.files.insert(merged(&library), PathBuf::from(&library));
    }
    let terminals = TERMINALS.iter().map(|name| Path::new(TERMINFO).join(name));
    for file in CONFIG
        .iter()
        .map(PathBuf::from)
        .chain(terminals)
        .filter(|file| file.is_file())
    {
        land.files.insert(merged(&file.to_string_lossy()), file);
    }
    for (program, backend, commands) in XTABLES
        .iter()
        .filter(|(program, ..)| tools.contains_key(program))
    {
        for command in *commands {
            for suffix in ["", "-save", "-restore"] {
                let mut link = |name: String| {
                    land.links
                        .insert(format!("usr/sbin/{name}"), (*program).to_owned())
                };
                link(format!("{command}-{backend}{suffix}"));
                // The plain name is the nft back end where there is one, as on today's systems.
                link(format!("{command}{suffix}"));
            }
        }
    }
    busybox(&mut land, &tools)?;
    Ok(land)
}

/// Busybox and a link for each of its commands that no real tool provides.
fn busybox(land: &mut Userland, tools: &BTreeMap<&str, PathBuf>) -> Result<()> {
    let file =
        paths::program("busybox").context("no busybox on this machine: run `cargo xtask setup`")?;
    let applets = process::output(Command::new(&file).arg("--list"))?;
    for applet in applets
        .lines()
        .filter(|applet| *applet != "busybox" && !tools.contains_key(applet))
    {
        land.links
            .insert(format!("usr/bin/{applet}"), "busybox".to_owned());
    }
    // The kernel calls this path to load a module that it needs.
    land.links
        .insert("usr/sbin/modprobe".to_owned(), "../bin/busybox".to_owned());
    land.files.insert("usr/bin/busybox".to_owned(), file);
    Ok(())
}

/// All libraries and ELF interpreters of `files`.
fn libraries(files: &[PathBuf]) -> Result<BTreeSet<String>> {
    // One call for all of them. ldd ends with an error if a single file is static: no failure here.
    let done = Command::new("ldd")
        .args(files)
        .output()
        .context("cannot start `ldd` (it belongs to the C library)")?;
    Ok(parse_ldd(&String::from_utf8_lossy(&done.stdout)))
}

fn parse_ldd(text: &str) -> BTreeSet<String> {
    let path = |line: &str| {
        let line = line.split(" (0x").next()?.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        (path.starts_with('/') && !path.ends_with(':')).then(|| path.to_owned())
    };
    text.lines().filter_map(path).collect()
}

/// The guest's path of a host path: without the leading slash, and with /usr merged.
pub fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or(path);
    if matches!(top, "bin" | "sbin" | "lib" | "lib64") {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_output_gives_libraries_and_interpreter() {
        let text = "/usr/sbin/ip:\n\
            \tlinux-vdso.so.1 (0x00007fff)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f36)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f37)\n\
            /usr/bin/static:\n\tnot a dynamic executable\n\
            \tlibgone.so => not found\n";
        let found: Vec<String> = parse_ldd(text).into_iter().collect();
        assert_eq!(
            found,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }

    #[test]
    fn paths_are_merged_into_usr() {
        assert_eq!(merged("/lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(merged("/bin/x"), "usr/bin/x");
        assert_eq!(merged("/etc/hosts"), "etc/hosts");
    }
}
