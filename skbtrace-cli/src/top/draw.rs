//! Drawing: from a state to the cells of a terminal, and nothing else.
//!
//! ```text
//! skbtrace  00:01:23  120 events/s  4567 events  0 lost  2 alive
//!   PKTS  DELIV   DROP LAST   P50   P99 FLOW (2)
//!     12     24      0   0s 143ms 151ms U:172.18.0.15:40547->172.18.253.6:9999
//! ```
//!
//! The pane that keys are for is the largest; in a terminal with few lines it is the only one. All
//! that came from the kernel or the wire is escaped when it gets here.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use super::{
    state::{Pane, State},
    view::{FlowRow, PacketRow, SegmentRow},
    words,
};
use crate::render::totals;

/// Lines above and below a tree.
pub const AROUND_TREE: usize = 2;
/// Lines of a pane that keys are not for.
const SMALL: u16 = 4;
/// Lines of the pane that keys are for, at least; with fewer it is the only one.
const LARGE: u16 = 4;

/// Lines of the panes that keys are not for, of so many in so high a terminal.
fn others(height: usize, panes: usize) -> usize {
    let others = (panes - 1) * usize::from(SMALL);
    if height < 2 + others + usize::from(LARGE) {
        0
    } else {
        others
    }
}

/// Lines above and below the rows of the pane that keys are for.
pub fn around_pane(height: usize, panes: usize) -> usize {
    3 + others(height, panes)
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const RED: Style = Style::new().fg(Color::Red);
const PLAIN: Style = Style::new();

const HELP: &str = "\
Keys

  q, Ctrl-C            quit
  Esc                  back; quit where there is no back
  Tab, Shift-Tab       next table, table before
  Up, Down, k, j       row before, next row; in a tree, scroll
  PgUp, PgDn           the same by a page
  Home, End, g, G      first row, last row
  Left, Right, h, l    move what is too long for the line
  Enter                the tree of the chosen packet, of the latest
                       packet of the chosen flow, or of the first
                       one that shows the chosen finding
  Backspace            back to the tables
  p, Space             pause the screen; counting goes on
  ?                    these keys

Flows and fates are counted when their packets have ended; P50 and P99 are
from a packet's first event to its last. DELIV counts what was made from a
packet too: more than PKTS are duplicates.
";

/// Draws the state.
pub fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.height < 3 || area.width < 20 {
        return text(buffer, area, 0, 0, "too small", PLAIN);
    }
    header(state, line(area, 0), buffer);
    let bottom = line(area, area.height - 1);
    let middle = Rect {
        y: area.y + 1,
        height: area.height - 2,
        ..area
    };
    if state.help {
        lines(HELP.lines(), 0, middle, buffer);
        hints("Backspace back  q quit", bottom, buffer);
    } else if let Some(tree) = &state.tree {
        let shown = tree.lines.iter().skip(tree.top).map(String::as_str);
        lines(shown, tree.shift, middle, buffer);
        hints(
            "Backspace back  arrows scroll  ? help  q quit",
            bottom,
            buffer,
        );
    } else {
        panes(state, middle, buffer);
        hints(
            "Tab table  arrows row  Enter tree  p pause  ? help  q quit",
            bottom,
            buffer,
        );
    }
}

fn header(state: &State, area: Rect, buffer: &mut Buffer) {
    let view = &state.view;
    let running = words::running(view.seconds);
    let left = format!(
        "skbtrace  {running}  {} events/s  {} events  ",
        words::count(view.rate),
        words::count(view.counts.events),
    );
    let lost = format!("{} lost", words::count(view.counts.lost));
    let right = format!("  {} alive", words::count(view.alive as u64));
    let lost_style = if view.counts.lost > 0 { RED } else { PLAIN };
    let mut x = 0;
    for (part, style) in [
        (left.as_str(), PLAIN),
        (lost.as_str(), lost_style),
        (right.as_str(), PLAIN),
        (if state.paused { "  PAUSED" } else { "" }, REVERSED),
    ] {
        text(buffer, area, x, 0, part, style.patch(BOLD));
        x += part.len();
    }
}

fn hints(what: &str, area: Rect, buffer: &mut Buffer) {
    text(buffer, area, 0, 0, what, BOLD);
}

fn lines<'a>(all: impl Iterator<Item = &'a str>, shift: usize, area: Rect, buffer: &mut Buffer) {
    for (y, line) in (0..area.height).zip(all) {
        let style = if line.contains("end: dropped") {
            RED
        } else {
            PLAIN
        };
        text(buffer, area, 0, y, line.get(shift..).unwrap_or(""), style);
    }
}

fn panes(state: &State, area: Rect, buffer: &mut Buffer) {
    let panes = state.panes();
    // Smaller than the terminal.
    let others = others(usize::from(area.height) + 2, panes.len()) as u16;
    if others == 0 {
        return pane(state, state.pane, area, buffer);
    }
    let mut y = area.y;
    for each in panes {
        let height = if *each == state.pane {
            area.height - others
        } else {
            SMALL
        };
        pane(state, *each, Rect { y, height, ..area }, buffer);
        y += height;
    }
}

/// A column: its title, and its width; the last one takes what is left.
type Column = (&'static str, usize);

const FLOWS: [Column; 6] = [
    ("PKTS", 6),
    ("DELIV", 6),
    ("DROP", 6),
    ("LAST", 4),
    ("P50", 5),
    ("P99", 5),
];
const FATES: [Column; 3] = [("PKTS", 6), ("FATE", 13), ("LAST HOP", 22)];
const SEGMENTS: [Column; 4] = [("PASSED", 6), ("P50", 5), ("P99", 5), ("MAX", 5)];
const FINDINGS: [Column; 2] = [("PKTS", 6), ("SURE", 7)];
const PACKETS: [Column; 4] = [("AGO", 4), ("ID", 7), ("TOOK", 5), ("FATE", 18)];

fn pane(state: &State, pane: Pane, area: Rect, buffer: &mut Buffer) {
    let (columns, title): (&[Column], String) = match pane {
        Pane::Flows => (&FLOWS, flows_title(state)),
        Pane::Fates => (
            &FATES,
            format!(
                "REASON ({})",
                shown(state.view.fates.len(), state.view.fates_known)
            ),
        ),
        Pane::Segments => (&SEGMENTS, format!("SEGMENT ({})", state.rows(pane))),
        Pane::Packets => (&PACKETS, format!("PACKET (latest {})", state.rows(pane))),
        Pane::Findings => (&FINDINGS, format!("FINDING ({})", state.rows(pane))),
    };
    let focused = pane == state.pane;
    let at = state.at(pane);
    let title_style = if focused { REVERSED } else { PLAIN }.patch(BOLD);
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    text(
        buffer,
        area,
        0,
        0,
        &" ".repeat(area.width.into()),
        title_style,
    );
    row(columns, &titles, &title, 0, title_style, area, buffer);
    let room = area.height.saturating_sub(1);
    let first = (at.row + 1).saturating_sub(room.into());
    for (y, index) in (1..=room).zip(first..state.rows(pane)) {
        let Some((cells, last, is_bad)) = cells(state, pane, index) else {
            return;
        };
        let style = if focused && index == at.row {
            REVERSED
        } else {
            PLAIN
        };
        let style = if is_bad { style.patch(RED) } else { style };
        let area = line(area, y);
        if focused && index == at.row {
            text(buffer, area, 0, 0, &" ".repeat(area.width.into()), style);
        }
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        row(columns, &cells, &last, at.shift, style, area, buffer);
    }
}

fn flows_title(state: &State) -> String {
    let view = &state.view;
    let shown = shown(view.flows.len(), view.flows_known);
    match view.flows_given_up {
        0 => format!("FLOW ({shown})"),
        given_up => format!("FLOW ({shown}, {} forgotten)", words::count(given_up)),
    }
}

fn shown(shown: usize, known: usize) -> String {
    if shown == known {
        shown.to_string()
    } else {
        format!("{shown} of {known}")
    }
}

/// A row: its cells but the last one, the last one, and whether it tells of something bad.
fn cells(state: &State, pane: Pane, index: usize) -> Option<(Vec<String>, String, bool)> {
    let view = &state.view;
    match pane {
        Pane::Flows => view.flows.get(index).map(|row| flow(row, view.now_ns)),
        Pane::Fates => view.fates.get(index).map(|((word, last, reason), count)| {
            let cells = vec![words::count(*count), (*word).to_owned(), last.clone()];
            (cells, reason.clone(), *word == "dropped")
        }),
        Pane::Segments => view.segments.get(index).map(segment),
        Pane::Packets => view.packets.get(index).map(|row| packet(row, view.now_ns)),
        Pane::Findings => view.findings.as_ref()?.get(index).map(|row| {
            let cells = vec![words::count(row.packets), row.confidence.to_owned()];
            (cells, format!("{}: {}", row.rule, row.sentence), true)
        }),
    }
}

fn flow(row: &FlowRow, now_ns: u64) -> (Vec<String>, String, bool) {
    let time = |ns: Option<u64>| ns.map_or_else(|| "?".to_owned(), words::time);
    let cells = vec![
        words::count(row.packets),
        words::count(row.delivered),
        words::count(row.dropped),
        words::ago(now_ns.saturating_sub(row.last_ns)),
        time(row.p50_ns),
        time(row.p99_ns),
    ];
    (cells, totals::flow_text(&row.flow), row.dropped > 0)
}

fn segment(row: &SegmentRow) -> (Vec<String>, String, bool) {
    let cells = vec![
        words::count(row.passed),
        words::time(row.p50_ns),
        words::time(row.p99_ns),
        words::time(row.max_ns),
    ];
    (cells, format!("{} -> {}", row.from, row.to), false)
}

fn packet(row: &PacketRow, now_ns: u64) -> (Vec<String>, String, bool) {
    let family = &row.family;
    let mut fates: Vec<&str> = Vec::new();
    for journey in &family.journeys {
        let word = journey.fate.word();
        if !fates.contains(&word) {
            fates.push(word);
        }
    }
    let first = family.journeys.first();
    let hops = family.journeys.iter().filter_map(|way| way.hops.last());
    let last_ns = hops.map(|hop| hop.time_ns).max().unwrap_or(0);
    let cells = vec![
        words::ago(now_ns.saturating_sub(last_ns)),
        first.map_or_else(|| "#?".to_owned(), |first| format!("#{}", first.number)),
        words::time(family.duration_ns()),
        fates.join(", "),
    ];
    let packet = first.map(|first| totals::packet_text(&first.packet()));
    (
        cells,
        packet.unwrap_or_default(),
        fates.contains(&"dropped"),
    )
}

/// Draws cells in their columns, numbers and times to the right.
fn row(
    columns: &[Column],
    cells: &[&str],
    last: &str,
    shift: usize,
    style: Style,
    area: Rect,
    buffer: &mut Buffer,
) {
    let mut x = 0;
    for ((title, width), cell) in columns.iter().zip(cells) {
        let is_text = matches!(*title, "FATE" | "LAST HOP" | "ID" | "SURE");
        let blanks = width.saturating_sub(cell.len());
        let start = if is_text { x } else { x + blanks };
        text(buffer, area, start, 0, &cut(cell, *width), style);
        x += width + 1;
    }
    let room = usize::from(area.width).saturating_sub(x);
    let rest = last.get(shift..).unwrap_or("");
    text(buffer, area, x, 0, &cut(rest, room), style);
}

/// A text in so many columns; one that is longer ends in `~`.
fn cut(text: &str, width: usize) -> String {
    match text.get(..width.saturating_sub(1)) {
        Some(start) if text.len() > width => format!("{start}~"),
        _ => text.to_owned(),
    }
}

fn line(area: Rect, y: u16) -> Rect {
    Rect {
        y: area.y + y,
        height: 1,
        ..area
    }
}

fn text(buffer: &mut Buffer, area: Rect, x: usize, y: u16, text: &str, style: Style) {
    let Some(room) = usize::from(area.width).checked_sub(x) else {
        return;
    };
    if y < area.height && room > 0 {
        // Smaller than the width.
        buffer.set_stringn(area.x + x as u16, area.y + y, text, room, style);
    }
}
