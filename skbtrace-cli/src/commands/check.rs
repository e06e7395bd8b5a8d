//! `skbtrace check`: what this machine offers, one line each, with the fix where there is one.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use tabled::builder::Builder;

use super::write_table;
use crate::{
    kernel::{btf::Btf, features, layout::Types, sections::VMLINUX},
    process,
};

/// Tracing cannot work here.
const FAILED: u8 = 2;

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    state: State,
    /// What was found, and what to do about it.
    word: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Absent, and not needed.
    No,
    /// Absent, and tracing cannot work.
    Bad,
}

/// Prints the findings; fails when tracing cannot work.
pub fn run(btf: Option<&Path>, out: &mut dyn Write) -> io::Result<ExitCode> {
    // Before 5.11 programs count as locked memory, others' of the same user too.
    process::unlimit_locked_memory();
    let findings = look(btf);
    let mut table = Builder::default();
    for finding in &findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::No => "no",
            State::Bad => "MISSING",
        };
        table.push_record([finding.what, state, &finding.word]);
    }
    write_table(table, out)?;
    let works = findings.iter().all(|finding| finding.state != State::Bad);
    writeln!(
        out,
        "{}",
        if works {
            "tracing works here"
        } else {
            "tracing cannot work here"
        }
    )?;
    Ok(if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn look(btf: Option<&Path>) -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut findings = vec![Finding {
        what: "kernel",
        state: State::Ok,
        word: release.trim().to_owned(),
    }];
    let mut add = |what, state, word: String| findings.push(Finding { what, state, word });
    let optional = |result: Result<(), String>, needed_for: &str| match result {
        Ok(()) => (State::Ok, String::new()),
        Err(error) => (State::No, format!("{error}; {needed_for}")),
    };

    let privileged = features::has_privileges();
    let (state, word) = if privileged {
        (State::Ok, "root, or CAP_BPF and CAP_PERFMON".to_owned())
    } else {
        (
            State::Bad,
            "run it with sudo (CAP_BPF and CAP_PERFMON)".to_owned(),
        )
    };
    add("privileges", state, word);

    match features::lockdown().as_deref() {
        Some("confidentiality") => add(
            "lockdown",
            State::Bad,
            "confidentiality: boot without lockdown=confidentiality".to_owned(),
        ),
        Some(mode) => add("lockdown", State::Ok, mode.to_owned()),
        None => add("lockdown", State::Ok, "not in this kernel".to_owned()),
    }

    match features::kprobe() {
        Ok(()) => add("kprobes", State::Ok, "attached one".to_owned()),
        Err(error) => add("kprobes", State::Bad, error),
    }

    match Types::read(btf) {
        Ok(types) => {
            let file = btf.unwrap_or(Path::new(VMLINUX));
            add("BTF", State::Ok, file.display().to_string());
            let (state, word) = if types.has_module_btf {
                (State::Ok, String::new())
            } else {
                let word = if types.has_old_hook_state {
                    "verdicts are read with the offsets of 5.10"
                } else {
                    "verdicts cannot be shown; needs CONFIG_DEBUG_INFO_BTF_MODULES"
                };
                (State::No, word.to_owned())
            };
            add("module BTF", state, word);
        }
        Err(error) => add("BTF", State::Bad, error.to_string()),
    }

    let ring = features::ring_buffer().map_err(|error| error.to_string());
    let (state, word) = optional(ring, "a perf event array is used instead");
    add("ring buffer", state, word);

    let said = |error: io::Error| match error.raw_os_error() {
        // 5.10 knows no such link; Debian's 6.1 is built without CONFIG_FPROBE.
        Some(libc::EINVAL | libc::EOPNOTSUPP) => "not in this kernel".to_owned(),
        _ => error.to_string(),
    };
    let multi = features::common_address().and_then(features::kprobe_multi);
    let (state, word) = optional(multi.map_err(said), "single kprobes are used");
    add("kprobe.multi", state, word);

    let session = features::common_address().and_then(features::kprobe_session);
    let (state, word) = optional(session.map_err(said), "returns are kretprobes");
    add("kprobe.session", state, word);

    let (state, word) = optional(fentry(btf), "kprobes are used");
    add("fentry", state, word);
    findings
}

fn fentry(btf: Option<&Path>) -> Result<(), String> {
    let function = features::common_function();
    let bytes = fs::read(btf.unwrap_or(Path::new(VMLINUX))).map_err(|error| error.to_string())?;
    let btf = Btf::parse(bytes, None, &[function]).map_err(|error| error.to_string())?;
    let id = btf
        .function(function)
        .ok_or_else(|| format!("{function} is not in BTF"))?;
    features::fentry(id).map_err(|error| error.to_string())
}
