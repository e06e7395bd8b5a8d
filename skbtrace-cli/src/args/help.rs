//! The words around the options: version, examples, notes, layout.
//!
//! There is one form of help and not a short and a long one: whoever needs it is in a hurry and
//! wants everything at once, at 80 columns.

use clap::{Arg, ArgAction, Command};

const ABOUT: &str = "Print a packet's path through the Linux kernel, one line for each function";

/// What follows the options, in the help and in the manual page: titles and texts.
pub const SECTIONS: [(&str, &str); 3] = [
    (
        "Examples",
        "  Why does a UDP packet arrive twice? Its path, with the verdicts of tables:
    sudo skbtrace --route --iptable -H 172.18.0.15 --proto udp
  What becomes of a pod's packets, and why are some lost?
    sudo skbtrace --explain --format tree -H 172.18.0.15
  Keep all of it, and look later:
    sudo skbtrace --explain -H 172.18.0.15 -w trip.skb
    skbtrace replay trip.skb --explain --format tree
  Which DNS packets does this machine drop, and why?
    sudo skbtrace --drop -P 53
  What does a Service's address become?
    sudo skbtrace --nat -H 172.18.253.6
  What does a container's process send and get?
    sudo skbtrace -N pid:4242 --wide",
    ),
    (
        "Notes",
        "  All filters given must match; one given several values, as -P 53,54 or
  -P 53 -P 54, matches any of them.
  --pid is the process running when the packet passes. Received packets are
  handled in softirq, often under another process: prefer -N pid:PID for those.",
    ),
    (
        "Exit status",
        "  0 done, 1 nothing matched, 2 could not run, 3 something was found (--exit-code)",
    ),
];

/// Adds to the derived command what does not fit in attributes.
pub fn dress(command: Command) -> Command {
    let after = SECTIONS.map(|(title, text)| format!("{title}:\n{text}"));
    command
        .about(ABOUT)
        .version(version())
        .after_help(after.join("\n\n"))
        .max_term_width(80)
        .disable_help_subcommand(true)
        // Both are replaced, for their heading.
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .global(true)
                .help("Print this help")
                .help_heading("Other"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version and the commit it was built from")
                .help_heading("Other"),
        )
}

/// The version and the commit this was built from.
#[must_use]
pub fn version() -> String {
    let commit = option_env!("SKBTRACE_COMMIT").unwrap_or("unknown");
    format!("{} (commit {commit})", env!("CARGO_PKG_VERSION"))
}
