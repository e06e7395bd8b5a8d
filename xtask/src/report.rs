//! The counts of a test run, read from libtest's words.
//!
//! Unit tests and the guests' test program print the same format, so one reader serves both. A run
//! that broke off in the middle has no `test result:` line; its single lines are counted then.

/// Counts and reasons of one run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// `NAME: reason` of each test that could not run.
    pub reasons: Vec<String>,
    /// Each failed test with the beginning of what it said.
    pub failures: Vec<Failure>,
    /// The run told its result; false if it broke off.
    pub complete: bool,
}

/// A test that failed, as told after the run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Failure {
    pub test: String,
    /// No more of what it said than a summary can bear.
    pub said: Vec<String>,
}

impl Failure {
    const LINES: usize = 12;

    /// The name in `---- NAME ----` (libtest-mimic) and `---- NAME stdout ----` (libtest).
    fn heading(line: &str) -> Option<Self> {
        let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
        Some(Self {
            test: name.strip_suffix(" stdout").unwrap_or(name).to_owned(),
            said: Vec::new(),
        })
    }
}

impl Report {
    /// Reads the whole output of a run.
    pub fn read(text: &str) -> Self {
        let mut results = Self::default();
        let mut lines = Self::default();
        // Whether what is read is what the last of the failures said.
        let mut told = false;
        for line in text.lines().map(str::trim) {
            if let Some(failure) = Failure::heading(line) {
                results.failures.push(failure);
                told = true;
                continue;
            }
            told &= line != "failures:" && !line.starts_with("test result:");
            if let Some(failure) = results.failures.last_mut().filter(|_| told) {
                if !line.is_empty() && failure.said.len() < Failure::LINES {
                    failure.said.push(line.to_owned());
                }
            } else if let Some(rest) = line.strip_prefix("test result:") {
                results.complete = true;
                results.passed += count(rest, "passed");
                results.failed += count(rest, "failed");
                results.skipped += count(rest, "ignored");
            } else if let Some(reason) = line.strip_prefix("SKIP ") {
                results.reasons.push(reason.to_owned());
            } else if let Some(verdict) = verdict(line) {
                match verdict {
                    "ok" => lines.passed += 1,
                    "FAILED" => lines.failed += 1,
                    _ => lines.skipped += 1,
                }
            }
        }
        if results.complete {
            return results;
        }
        Self {
            reasons: results.reasons,
            failures: results.failures,
            ..lines
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend_from_slice(&other.reasons);
        self.failures.extend_from_slice(&other.failures);
    }

    /// `41 passed, 0 failed, 2 skipped`; what was not skipped goes without saying.
    pub fn counts(&self) -> String {
        let skipped = if self.skipped == 0 {
            String::new()
        } else {
            format!(", {} skipped", self.skipped)
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }
}

/// The verdict of a `test NAME ... VERDICT` line.
pub fn verdict(line: &str) -> Option<&str> {
    let (_, verdict) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    let word = verdict.split([' ', ',']).next()?;
    ["ok", "FAILED", "ignored"].contains(&word).then_some(word)
}

/// The number before `what` in `ok. 41 passed; 0 failed; …`.
fn count(result: &str, what: &str) -> u64 {
    let mut words = result
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut last = "";
    words
        .find_map(|word| {
            let found = (word == what).then(|| last.parse().ok()).flatten();
            last = word;
            found
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_results_add_up() {
        let text = "\
running 2 tests
test a::b ... ok
test result: ok. 41 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s
SKIP fentry: kernel 5.10 has no module BTF
test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";
        let report = Report::read(text);
        assert_eq!((report.passed, report.failed, report.skipped), (44, 1, 2));
        assert_eq!(report.reasons, ["fentry: kernel 5.10 has no module BTF"]);
        assert!(report.complete);
        assert_eq!(report.counts(), "44 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn a_run_that_broke_off_is_counted_by_its_lines() {
        let report = Report::read(
            "test one ... ok\r\ntest two ... FAILED\r\ntest three ... ignored, no kfunc\ntest four ... ",
        );
        assert_eq!(
            (
                report.passed,
                report.failed,
                report.skipped,
                report.complete
            ),
            (1, 1, 1, false)
        );
    }

    #[test]
    fn failures_are_kept_with_what_they_said() {
        let report = Report::read(
            "test a ... FAILED\n\nfailures:\n\n---- a ----\nno such hop\n\nit printed:\ntest x ... ok\n\n\
             ---- b::c stdout ----\npanicked\n\nfailures:\n    a\n    b::c\n\n\
             test result: FAILED. 0 passed; 2 failed; 0 ignored\n",
        );
        let said: Vec<_> = report
            .failures
            .iter()
            .map(|failure| (failure.test.as_str(), failure.said.join("|")))
            .collect();
        assert_eq!(
            said,
            [
                ("a", "no such hop|it printed:|test x ... ok".to_owned()),
                ("b::c", "panicked".to_owned())
            ]
        );
        assert_eq!((report.passed, report.failed), (0, 2));
    }

    #[test]
    fn no_output_is_no_result() {
        assert_eq!(Report::read(""), Report::default());
    }
}
