//! Help, refusals and the shape of what is parsed.

use insta::assert_snapshot;
use proptest::prelude::*;
use skbtrace_common::hooks::{DROP, IPTABLE, NAT, ROUTE, SETS};

use super::*;

fn run(line: &str) -> Result<Invocation, clap::Error> {
    parse(std::iter::once("skbtrace").chain(line.split_whitespace()))
}

/// The first line of what clap says: the rest points to the help.
fn refusal(line: &str) -> String {
    let error = run(line).expect_err("refused");
    assert_eq!(error.exit_code(), 2, "{line}");
    let message = error.to_string();
    message.lines().next().unwrap_or_default().to_owned()
}

fn sets(line: &str) -> u32 {
    match run(line) {
        Ok(Invocation::Trace(args)) => args.hooks.sets.0,
        Ok(Invocation::Hooks { sets, .. }) => sets,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn help() {
    let help = command().term_width(80).render_help().to_string();
    assert!(help.lines().all(|line| line.chars().count() <= 80));
    assert_snapshot!(help);
}

#[test]
fn both_forms_of_help_are_the_same() {
    let help = |option| run(option).map(|_| ()).expect_err("refused").to_string();
    assert_eq!(help("-h"), help("--help"));
}

#[test]
fn help_of_the_subcommands() {
    let mut all = command().term_width(80);
    all.build();
    let help = all
        .get_subcommands_mut()
        .map(|subcommand| subcommand.render_help().to_string())
        .collect::<Vec<_>>();
    assert_snapshot!(help.join("\n----\n"));
}

#[test]
fn every_set_is_an_option() {
    for set in SETS {
        assert_eq!(sets(&format!("--{}", set.name)), set.bit);
        assert_eq!(sets(&format!("--set {}", set.name)), set.bit);
        assert_eq!(sets(&format!("hooks --set {}", set.name)), set.bit);
    }
    assert_eq!(sets(""), ROUTE, "the default");
    assert_eq!(sets("--iptable --route"), ROUTE | IPTABLE);
    assert_eq!(sets("--dropstack"), DROP);
    assert_eq!(sets("--route --dropstack"), ROUTE | DROP);
    assert_eq!(
        sets("--callstack"),
        ROUTE,
        "a stack under whatever there is"
    );
    assert_eq!(
        sets("--drop --set nat,route --set iptable"),
        DROP | NAT | ROUTE | IPTABLE
    );
    let every = SETS.iter().fold(0, |bits, set| bits | set.bit);
    assert_eq!(sets("hooks"), every);
    assert_eq!(sets("hooks --set all"), every);
    assert_eq!(sets("--set all"), every);
    assert_eq!(sets("hooks --set route,iptable"), ROUTE | IPTABLE);
    assert_eq!(sets("--all"), 0, "every function, and no other kinds");
    assert_eq!(sets("--all --iptable"), IPTABLE);
}

#[test]
fn subcommands() {
    assert!(matches!(
        run("check --btf /x"),
        Ok(Invocation::Check { btf: Some(_) })
    ));
    assert!(matches!(
        run("completions zsh"),
        Ok(Invocation::Completions(Shell::Zsh))
    ));
    let Ok(Invocation::Top(top)) = run("top --drop -H 10.0.0.1 -vv") else {
        panic!("top");
    };
    assert_eq!((top.hooks.sets.0, top.filters.host.len()), (DROP, 1));
    assert_eq!(TraceArgs::from(top).verbose, 1);
    assert!(matches!(run("man"), Ok(Invocation::Man)));
    assert!(matches!(run("schema"), Ok(Invocation::Schema)));
}

#[test]
fn numbers_of_the_output_options() {
    let duration = |text: &str| value::duration(text).ok();
    assert_eq!(duration("0.5"), Some(Duration::from_millis(500)));
    assert_eq!(duration("10"), Some(Duration::from_secs(10)));
    for text in ["", ".", "0", "-1", "1e3", "inf", "nan", "5s", "1.2.3"] {
        assert_eq!(duration(text), None, "{text:?}");
    }
    let far = "9".repeat(400);
    assert_eq!(duration(&far), None);

    let size = |text: &str| value::size(text).ok();
    assert_eq!(size("4k"), Some(4096));
    assert_eq!(size("1G"), Some(1 << 30));
    for text in [
        "",
        "0",
        "K",
        "2G",
        "1T",
        "16MB",
        "-1",
        "99999999999999999999G",
    ] {
        assert_eq!(size(text), None, "{text:?}");
    }
    assert!(value::count("0").is_err());
}

#[test]
fn refusals() {
    let lines = [
        "-H example.com",
        "-H 10.0.0.256",
        "-H 10.0.0.0/33",
        "--src 10.0.0.1:53",
        "--dst fe80::1%eth0",
        "-P http",
        "-P 53-60",
        "-P 53,",
        "--proto sctp",
        "--icmpid 65536",
        "-i a/b",
        "-N pid:x",
        "-p 0",
        "--mark 0x110/0xff",
        "--mark red",
        "-c 0",
        "--duration 5s",
        "--buffer 2G",
        "--pcapng x --snaplen 2049",
        "--snaplen 64",
        "--print",
        "--color red",
        "--func (",
        "--module bridge",
        "-t -T",
        "--prot udp",
        "-P",
        "host",
        "-v check",
        "hooks --set red",
        "top --format json",
        "completions",
    ];
    let report = lines.map(|line| format!("{line}\n    {}", refusal(line)));
    assert_snapshot!(report.join("\n"));
}

#[test]
fn a_mistyped_option_is_suggested() {
    let message = run("--prot udp").expect_err("refused").to_string();
    assert!(message.contains("'--proto'"), "{message}");
}

proptest! {
    #[test]
    fn parsing_never_panics(words in proptest::collection::vec(".{0,12}", 0..4)) {
        let _ = parse(std::iter::once("skbtrace".to_owned()).chain(words));
    }

    #[test]
    fn values_never_panic(option in 0..13_usize, text in ".*") {
        let options = [
            "--host", "--port", "--proto", "--icmpid", "--iface", "--netns", "--pid", "--mark",
            "--count", "--duration", "--buffer", "--func", "--snaplen",
        ];
        let line = ["skbtrace".to_owned(), format!("{}={text}", options[option])];
        let _ = parse(line);
    }
}
