//! Who decided: table and chain, as the kernel told, and the rule or the policy, where the chain's rules
//! leave one possibility.

use std::fmt::Write as _;

use super::SEE_ALL;
use crate::{
    diagnosis::loss::Loss,
    journey::{Decided, OwnChain},
    kernel::rulesets::{EndingRule, family},
    render::escaped_text,
};

/// Who decided to drop a packet.
pub struct By<'a> {
    decided: &'a Decided,
    /// All that can have done it; empty when not known.
    rules: Vec<&'a EndingRule>,
    more: u32,
    policy: bool,
}

impl<'a> By<'a> {
    /// Of a packet whose sender was told.
    pub fn rejecting(decided: &'a Decided) -> Self {
        Self::of(decided, |rule| rule.rejects, false)
    }

    /// Of a packet that was dropped. Where it would have been seen that the sender is told, those who
    /// tell are not meant.
    pub fn dropping(loss: &Loss<'_>, decided: &'a Decided) -> Self {
        let hears = |function: &str| {
            let listening = loss.case.names.listening();
            let mut attached = listening.iter().flat_map(|listening| &listening.attached);
            attached.any(|heard| heard.function == function)
        };
        let tells = decided.pf == Some(family::IPV4)
            && hears("nf_send_unreach")
            && (!loss.is_tcp() || hears("nf_send_reset"));
        Self::of(decided, |rule| !(tells && rule.rejects), true)
    }

    fn of(decided: &'a Decided, is_meant: impl Fn(&EndingRule) -> bool, silent: bool) -> Self {
        let ending = decided.ending.as_ref();
        let rules = ending.iter().flat_map(|ending| &ending.rules);
        Self {
            decided,
            rules: rules.filter(|rule| is_meant(rule)).collect(),
            more: ending.map_or(0, |ending| ending.more),
            policy: silent && ending.is_some_and(|ending| ending.policy),
        }
    }

    /// The only possibility, as it stands before a table's name.
    fn only(&self) -> Option<String> {
        match (&*self.rules, self.more, self.policy) {
            ([], 0, true) => Some(format!("the policy of chain {}", self.chain())),
            ([rule], 0, false) => Some(match &rule.chain {
                None => format!("{} of chain {}", numbered(rule), self.chain()),
                Some(chain) => {
                    let chain = escaped_text(chain);
                    let base = self.chain();
                    format!(
                        "{} of chain {chain}, reached from chain {base},",
                        numbered(rule)
                    )
                }
            }),
            _ => None,
        }
    }

    /// Table and chain, by the name of the command that shows them.
    pub fn who(&self) -> String {
        let decided = self.decided;
        let table = escaped_text(&decided.table.bytes);
        let chain = self.only();
        let chain = chain.unwrap_or_else(|| format!("chain {}", self.chain()));
        match &*decided.function {
            "ipt_do_table" => format!("{chain} of table {table} (iptables-legacy)"),
            "ip6t_do_table" => format!("{chain} of table {table} (ip6tables-legacy)"),
            "arpt_do_table" => format!("{chain} of table {table} (arptables-legacy)"),
            "ebt_do_table" => format!("{chain} of table {table} (ebtables-legacy)"),
            "nft_do_chain" => format!("{chain} of table {}{table} (nftables)", self.family()),
            _ => match &decided.decider {
                Some(decider) => {
                    format!(
                        "{} at hook {}",
                        escaped_text(decider.as_bytes()),
                        self.chain()
                    )
                }
                None => format!("a function of hook {}", self.chain()),
            },
        }
    }

    fn chain(&self) -> String {
        match &self.decided.chain {
            OwnChain::Own(name) => escaped_text(&name.bytes),
            OwnChain::Hook(name) => (*name).to_owned(),
            OwnChain::HookNumber(number) => format!("of hook {number}"),
        }
    }

    /// The family of nftables' table, with a blank behind it; nothing when it is not known.
    fn family(&self) -> String {
        let ending = self.decided.ending.as_ref();
        let name = ending.and_then(|ending| family::name(ending.family));
        name.map_or_else(String::new, |name| format!("{name} "))
    }

    /// The command that shows the rules, with their counters.
    pub fn how_to_see(&self) -> String {
        let only = self.only().is_some();
        let called = self.rules.first().filter(|_| only);
        let called = called.and_then(|rule| rule.chain.as_deref());
        let chain = called.map_or_else(|| self.chain(), escaped_text);
        let table = escaped_text(&self.decided.table.bytes);
        let numbers = if only { " --line-numbers" } else { "" };
        let family = self.family();
        let command = match &*self.decided.function {
            "ipt_do_table" => format!("iptables-legacy -t {table} -vnL {chain}{numbers}"),
            "ip6t_do_table" => format!("ip6tables-legacy -t {table} -vnL {chain}{numbers}"),
            "arpt_do_table" => format!("arptables-legacy -t {table} -vnL {chain}"),
            "ebt_do_table" => format!("ebtables-legacy -t {table} -L {chain} --Lc"),
            "nft_do_chain" if only && !family.is_empty() => {
                format!("nft -a list chain {family}{table} {chain}")
            }
            "nft_do_chain" => format!("nft -a list ruleset, table {table}, chain {chain}"),
            _ => return SEE_ALL.to_owned(),
        };
        if only {
            return format!("in that netns: {command}");
        }
        let mut text =
            format!("in that netns: {command}: which of its rules counts up, or its policy");
        let candidates = self.candidates();
        if !candidates.is_empty() {
            // Nothing can fail that writes to a text.
            let _ = write!(text, "; it can be {candidates}");
        }
        text
    }

    /// All possibilities, in words.
    fn candidates(&self) -> String {
        let rules = self.rules.iter().map(|rule| {
            let numbered = numbered(rule);
            match &rule.chain {
                None => numbered,
                Some(chain) => format!("{numbered} of chain {}", escaped_text(chain)),
            }
        });
        let mut all: Vec<String> = rules.collect();
        if self.more > 0 {
            all.push(format!("{} others", self.more));
        }
        if self.policy {
            all.push("the policy".to_owned());
        }
        match all.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// `rule 3 (handle 12)`.
fn numbered(rule: &EndingRule) -> String {
    match rule.handle {
        Some(handle) => format!("rule {} (handle {handle})", rule.number),
        None => format!("rule {}", rule.number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Verdict, journey::OwnName, kernel::rulesets::Ending};

    fn decided(function: &str, ending: Option<Ending>) -> Decided {
        let name = |text: &str| OwnName {
            bytes: text.as_bytes().into(),
            cut: false,
        };
        Decided {
            function: function.into(),
            pf: Some(family::IPV4),
            hooknum: Some(1),
            table: name("filter"),
            chain: OwnChain::Own(name("INPUT")),
            verdict: Verdict::Drop(None),
            decider: None,
            ending,
        }
    }

    fn rule(chain: Option<&str>, number: u32, handle: Option<u64>) -> EndingRule {
        EndingRule {
            chain: chain.map(Into::into),
            number,
            handle,
            rejects: false,
        }
    }

    fn ending(rules: Vec<EndingRule>, policy: bool) -> Option<Ending> {
        Some(Ending {
            family: family::INET,
            rules,
            more: 0,
            policy,
        })
    }

    /// Who, and how to see it.
    fn told(function: &str, ending: Option<Ending>) -> [String; 2] {
        let decided = decided(function, ending);
        let by = By::of(&decided, |_| true, true);
        [by.who(), by.how_to_see()]
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let [who, see] = told("nft_do_chain", None);
        assert_eq!(who, "chain INPUT of table filter (nftables)");
        assert_eq!(
            see,
            "in that netns: nft -a list ruleset, table filter, chain INPUT: which of its rules counts \
             up, or its policy"
        );
    }

    #[test]
    fn one_possibility_is_it() {
        let [who, see] = told("nft_do_chain", ending(vec![rule(None, 3, Some(12))], false));
        assert_eq!(
            who,
            "rule 3 (handle 12) of chain INPUT of table inet filter (nftables)"
        );
        assert_eq!(see, "in that netns: nft -a list chain inet filter INPUT");
        let [who, see] = told(
            "ipt_do_table",
            ending(vec![rule(Some("A b"), 1, None)], false),
        );
        assert_eq!(
            who,
            "rule 1 of chain A\\x20b, reached from chain INPUT, of table filter (iptables-legacy)"
        );
        assert_eq!(
            see,
            "in that netns: iptables-legacy -t filter -vnL A\\x20b --line-numbers"
        );
        let [who, _] = told("ip6t_do_table", ending(vec![], true));
        assert_eq!(
            who,
            "the policy of chain INPUT of table filter (ip6tables-legacy)"
        );
    }

    #[test]
    fn several_possibilities_are_named_where_to_look() {
        let rules = vec![rule(None, 1, Some(4)), rule(Some("x"), 2, Some(5))];
        let [who, see] = told("nft_do_chain", ending(rules, true));
        assert_eq!(who, "chain INPUT of table inet filter (nftables)");
        assert!(
            see.ends_with(
                "; it can be rule 1 (handle 4), rule 2 (handle 5) of chain x or the policy"
            ),
            "{see}"
        );
        let rules = vec![rule(None, 1, None)];
        let mut many = ending(rules, false);
        many.as_mut().expect("some").more = 9;
        let [who, see] = told("ipt_do_table", many);
        assert_eq!(who, "chain INPUT of table filter (iptables-legacy)");
        assert!(see.ends_with("it can be rule 1 or 9 others"), "{see}");
    }

    #[test]
    fn who_told_the_sender_is_one_that_tells() {
        let mut rejecting = rule(None, 2, None);
        rejecting.rejects = true;
        let rules = vec![rule(None, 1, None), rejecting];
        let decided = decided("ipt_do_table", ending(rules, true));
        assert_eq!(
            By::rejecting(&decided).who(),
            "rule 2 of chain INPUT of table filter (iptables-legacy)"
        );
    }
}
