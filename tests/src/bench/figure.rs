//! A figure of the table: what was measured, what it may be at most, and what it was found to be.
//!
//! A figure that could not be had stands in the table with the reason, so that a row is never
//! missing in silence.

use std::fmt;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Guest instructions.
    Instructions,
    /// Guest seconds: 10⁹ instructions, or waiting.
    Seconds,
    /// 10⁶ bytes.
    Megabytes,
    /// Hundredths.
    Percent,
    /// Events, of those that a burst makes.
    Events,
}

/// What came of measuring.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number of the figure's unit.
    Measured(f64),
    /// It cannot be measured here.
    Skipped(String),
    /// Measuring it failed.
    Failed(String),
}

/// Figures that the peers have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// A hit that the filter rejects, hooks alone.
    Rejected,
    /// A hit that matches, hooks alone.
    Matched,
    /// CPU time until it listens.
    Ready,
    /// From Ctrl-C to the prompt.
    Exit,
    /// Resident memory without buffers.
    Memory,
    /// Part of the CPU that is used while nothing happens.
    Idle,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured, in words.
    pub what: String,
    /// What it counts.
    pub unit: Unit,
    /// What was found.
    pub value: Value,
    /// What it may be at most, where there is a target.
    pub limit: Option<f64>,
    /// What the peers' figure for it is.
    pub compared: Option<Compared>,
    /// What else is to be known.
    pub remarks: String,
}

impl Figure {
    /// A figure that was measured.
    pub fn new(what: impl Into<String>, unit: Unit, measured: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            value: Value::Measured(measured),
            limit: None,
            compared: None,
            remarks: String::new(),
        }
    }

    /// One that was not.
    pub fn without(what: impl Into<String>, value: Value) -> Self {
        Self {
            value,
            ..Self::new(what, Unit::Events, 0.0)
        }
    }

    /// Sets its target.
    pub fn limit(mut self, limit: impl Into<Option<f64>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Sets which figure of the peers stands beside it.
    pub fn compared(mut self, compared: Compared) -> Self {
        self.compared = Some(compared);
        self
    }

    /// Sets what else is to be known.
    pub fn remark(mut self, remarks: impl Into<String>) -> Self {
        self.remarks = remarks.into();
        self
    }

    /// Measured, in its unit.
    pub fn measured(&self) -> String {
        match &self.value {
            Value::Measured(value) => self.unit.text(*value),
            Value::Skipped(_) | Value::Failed(_) => "–".to_owned(),
        }
    }

    /// Whether the target is met, or why it is not known.
    pub fn verdict(&self) -> String {
        match (&self.value, self.limit) {
            (Value::Skipped(reason), _) => format!("SKIP: {reason}"),
            (Value::Failed(reason), _) => format!("**failed**: {reason}"),
            (Value::Measured(_), None) => String::new(),
            // What is printed counts: 260.3 is 260.
            (Value::Measured(value), Some(limit)) if self.unit.round(*value) <= limit => {
                "met".to_owned()
            }
            (Value::Measured(_), Some(_)) => "**missed**".to_owned(),
        }
    }
}

impl Unit {
    /// A number with the unit, as precise as it is worth.
    pub fn text(self, value: f64) -> String {
        // Rounded first, and without the sign that a rounded -0.04 has.
        let value = self.round(value) + 0.0;
        match self {
            Self::Instructions | Self::Events => format!("{value:.0}"),
            Self::Seconds => format!("{value:.3} s"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Percent => format!("{value:.1} %"),
        }
    }

    fn round(self, value: f64) -> f64 {
        let scale = match self {
            Self::Instructions | Self::Events => 1.0,
            Self::Seconds => 1000.0,
            Self::Megabytes | Self::Percent => 10.0,
        };
        (value * scale).round() / scale
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.measured())?;
        if let Some(limit) = self.limit {
            write!(f, " (at most {})", self.unit.text(limit))?;
        }
        for more in [self.verdict(), self.remarks.clone()] {
            if !more.is_empty() {
                write!(f, "; {more}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_as_it_is_printed() {
        let figure = |value| Figure::new("a hit", Unit::Instructions, value).limit(260.0);
        assert_eq!(figure(260.4).verdict(), "met");
        assert_eq!(figure(260.6).verdict(), "**missed**");
        assert_eq!(figure(260.6).measured(), "261");
        assert_eq!(figure(1.0).limit(None).verdict(), "");
        assert_eq!(Unit::Percent.text(-0.04), "0.0 %");
    }

    #[test]
    fn what_could_not_be_measured_says_why() {
        let skipped = Figure::without("x", Value::Skipped("no such option".to_owned()));
        assert_eq!(skipped.measured(), "–");
        assert_eq!(skipped.limit(1.0).verdict(), "SKIP: no such option");
    }
}
