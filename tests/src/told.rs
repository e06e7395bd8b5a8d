//! What `--explain` says, parsed.

use anyhow::{Context as _, Result};

use crate::row::Row;

/// A finding.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which rule.
    pub rule: String,
    /// `certain` or `likely`.
    pub confidence: String,
    /// What it says.
    pub sentence: String,
    /// What to do.
    pub check: String,
    /// The events that show it.
    pub evidence: Vec<Row>,
    /// How many packets showed it, as said at the end; 1 when nothing is.
    pub packets: u64,
}

impl Told {
    /// All findings in the output of a run, in their order.
    pub fn all(stdout: &[String]) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        let mut lines = stdout.iter().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("FINDING ") {
                let context = || format!("no finding: {line}");
                let (head, sentence) = rest.split_once(": ").with_context(context)?;
                let (rule, confidence) = head.split_once(' ').with_context(context)?;
                let mut told = Self {
                    rule: rule.to_owned(),
                    confidence: confidence.to_owned(),
                    sentence: sentence.to_owned(),
                    check: String::new(),
                    evidence: Vec::new(),
                    packets: 1,
                };
                while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
                    match line.strip_prefix("  check: ") {
                        Some(check) => told.check = check.to_owned(),
                        None => told.evidence.extend(Row::parse(line.trim_start())?),
                    }
                }
                all.push(told);
            } else if let Some((count, rest)) = line.split_once(" packets: ")
                && let Some((rule, sentence)) = rest.split_once(": ")
                && let Ok(packets) = count.parse()
            {
                let mut same = all.iter_mut();
                let told = same.find(|told| told.rule == rule && told.sentence == sentence);
                told.with_context(|| format!("counted and not told: {line}"))?
                    .packets = packets;
            }
        }
        Ok(all)
    }

    /// The commands among what to do.
    pub fn commands(&self) -> Vec<&str> {
        self.check.split('`').skip(1).step_by(2).collect()
    }

    /// Whether an event among those that show it has this in its PKT_INFO.
    pub fn is_about(&self, packet: &str) -> bool {
        self.evidence.iter().any(|row| row.pkt.contains(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_and_counts() {
        let text = "\
FINDING no-socket certain: nobody listens at UDP 10.71.0.2:7 in netns right
  check: in that netns: `ss -lunp`: or `true`
  [06:47:28.134562] [4026532281] eth0 0a7100000002 U:1.1.1.1:1->2.2.2.2:2 ffff00000000000a.0:ip_rcv
[06:47:28.134562] [4026532281] eth0 0a7100000002 U:1.1.1.1:1->2.2.2.2:2 ffff00000000000a.0:ip_rcv
3 packets: no-socket: nobody listens at UDP 10.71.0.2:7 in netns right
";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let all = Told::all(&lines).expect("findings");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].rule.as_str(), all[0].packets), ("no-socket", 3));
        assert_eq!(all[0].commands(), ["ss -lunp", "true"]);
        assert!(all[0].is_about("U:1.1.1.1:1->"));
    }
}
