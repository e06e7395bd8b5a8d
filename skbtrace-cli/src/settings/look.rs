//! How what is printed is to look: the choices of a live run and of a replay alike.

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    args::OutputArgs,
    render::{Format, JsonOptions, TableOptions, TimeFormat, TreeOptions},
};

/// How what is printed is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `--format`.
    pub format: FormatChoice,
    /// The first column.
    pub time: TimeStyle,
    /// Whether to colour.
    pub color: ColorChoice,
}

impl Look {
    /// As asked for.
    #[must_use]
    pub fn of(output: &OutputArgs) -> Self {
        Self {
            format: if output.wide {
                FormatChoice::Wide
            } else {
                output.format
            },
            time: if output.timestamp {
                TimeStyle::Boot
            } else {
                TimeStyle::Wall
            },
            color: output.color,
        }
    }

    /// The format, when so much is to be added to `CLOCK_MONOTONIC` for Unix time.
    #[must_use]
    pub fn format(self, unix_offset_ns: i64, is_terminal: bool) -> Format {
        let time = match self.time {
            TimeStyle::Boot => TimeFormat::SinceBoot,
            TimeStyle::Wall => TimeFormat::WallClock { unix_offset_ns },
        };
        let color = match self.color {
            ColorChoice::Auto => is_terminal,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let table = |wide| Format::Table(TableOptions { time, wide, color });
        match self.format {
            FormatChoice::Table => table(false),
            FormatChoice::Wide => table(true),
            FormatChoice::Json => Format::Json(JsonOptions { unix_offset_ns }),
            FormatChoice::Tree => Format::Tree(TreeOptions { time, color }),
            FormatChoice::Summary => Format::Summary(TreeOptions { time, color }),
        }
    }
}

/// How the time of an event is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStyle {
    /// Seconds since boot, with microseconds.
    Boot,
    /// Wall clock, `HH:MM:SS.micro`.
    #[default]
    Wall,
}

/// A value of `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormatChoice {
    /// One line an event, in the article's columns.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// One object of JSON an event and a line, with all that is known.
    Json,
    /// One block a packet and what was made from it.
    Tree,
    /// What became of all packets, at the end.
    Summary,
}

/// A value of `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// When printing to a terminal.
    #[default]
    Auto,
    /// Also into a pipe or file.
    Always,
    /// Not at all.
    Never,
}

values!(
    FormatChoice: Table = "table",
    Wide = "wide",
    Json = "json",
    Tree = "tree",
    Summary = "summary"
);
values!(ColorChoice: Auto = "auto", Always = "always", Never = "never");
