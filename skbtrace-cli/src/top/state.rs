//! The state: the view, and what keys have chosen of it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::View;

/// How far a key moves the text to the side.
const SIDEWAYS: usize = 8;

/// One of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Flows.
    #[default]
    Flows,
    /// Fates.
    Fates,
    /// Times from stage to stage.
    Segments,
    /// The latest packets.
    Packets,
    /// What was found.
    Findings,
}

impl Pane {
    /// All of them, from the top.
    const ALL: [Self; 5] = [
        Self::Flows,
        Self::Fates,
        Self::Segments,
        Self::Packets,
        Self::Findings,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// Where one is in a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The row.
    pub row: usize,
    /// Characters of the last column that are left out on the left.
    pub shift: usize,
}

/// A packet's tree, and where one is in it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Its lines.
    pub lines: Vec<String>,
    /// The first that is shown.
    pub top: usize,
    /// Characters that are left out on the left.
    pub shift: usize,
}

/// All that is drawn.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The counts.
    pub view: View,
    /// The table that keys are for.
    pub pane: Pane,
    /// By number of the table.
    pub at: [At; 5],
    /// A packet's tree, in place of the tables.
    pub tree: Option<Tree>,
    /// The keys are shown, in place of the tables.
    pub help: bool,
    /// The view stays as it is.
    pub paused: bool,
    /// Lines of the terminal.
    pub height: usize,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    None,
    /// To be drawn.
    Draw,
    /// The tree of that family.
    Open(u64),
    /// The end.
    Quit,
}

impl State {
    /// Where one is in a table.
    pub fn at(&self, pane: Pane) -> At {
        self.at.get(pane.index()).copied().unwrap_or_default()
    }

    /// The tables that there are, from the top.
    pub fn panes(&self) -> &'static [Pane] {
        let count = Pane::ALL.len() - usize::from(self.view.findings.is_none());
        Pane::ALL.get(..count).unwrap_or(&Pane::ALL)
    }

    /// So many tables on.
    fn pane_by(&self, steps: usize) -> Pane {
        let panes = self.panes();
        let next = (self.pane.index() + steps) % panes.len();
        panes.get(next).copied().unwrap_or_default()
    }

    /// How many rows a table has.
    pub fn rows(&self, pane: Pane) -> usize {
        match pane {
            Pane::Flows => self.view.flows.len(),
            Pane::Fates => self.view.fates.len(),
            Pane::Segments => self.view.segments.len(),
            Pane::Packets => self.view.packets.len(),
            Pane::Findings => self.view.findings.as_ref().map_or(0, Vec::len),
        }
    }

    /// Takes a new view. The chosen packet stays chosen, unless it is the newest: then the newest.
    pub fn update(&mut self, view: View) {
        let at = self.at(Pane::Packets).row;
        let chosen = self.view.packets.get(at).map(|packet| packet.serial);
        self.view = view;
        if let Some(chosen) = chosen.filter(|_| at > 0) {
            let mut packets = self.view.packets.iter();
            let now = packets.position(|packet| packet.serial == chosen);
            self.set_row(Pane::Packets, now.unwrap_or(usize::MAX));
        }
        for pane in Pane::ALL {
            self.set_row(pane, self.at(pane).row);
        }
    }

    /// Shows a tree.
    pub fn open(&mut self, text: &str) {
        self.tree = Some(Tree {
            lines: text.lines().map(str::to_owned).collect(),
            ..Tree::default()
        });
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Reaction {
        if key.kind == KeyEventKind::Release {
            return Reaction::None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Reaction::Quit,
            _ if control => return Reaction::None,
            KeyCode::Char('q') => return Reaction::Quit,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Esc if !self.help && self.tree.is_none() => return Reaction::Quit,
            KeyCode::Esc | KeyCode::Backspace if self.help => self.help = false,
            KeyCode::Esc | KeyCode::Backspace => self.tree = None,
            _ if self.help => return Reaction::None,
            code => return self.movement(code),
        }
        Reaction::Draw
    }

    fn movement(&mut self, code: KeyCode) -> Reaction {
        let page = self.page().cast_signed();
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.down(-1),
            KeyCode::Down | KeyCode::Char('j') => self.down(1),
            KeyCode::PageUp => self.down(-page),
            KeyCode::PageDown => self.down(page),
            KeyCode::Home | KeyCode::Char('g') => self.down(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.down(isize::MAX),
            KeyCode::Left | KeyCode::Char('h') => {
                let shift = self.shift();
                *shift = shift.saturating_sub(SIDEWAYS);
            }
            KeyCode::Right | KeyCode::Char('l') => {
                let shift = self.shift();
                // Longer than any line.
                *shift = usize::min(*shift + SIDEWAYS, 1 << 14);
            }
            KeyCode::Tab if self.tree.is_none() => self.pane = self.pane_by(1),
            KeyCode::BackTab if self.tree.is_none() => {
                self.pane = self.pane_by(self.panes().len() - 1);
            }
            KeyCode::Enter if self.tree.is_none() => {
                return self.chosen().map_or(Reaction::None, Reaction::Open);
            }
            _ => return Reaction::None,
        }
        Reaction::Draw
    }

    /// The family that the chosen row stands for.
    fn chosen(&self) -> Option<u64> {
        let row = self.at(self.pane).row;
        match self.pane {
            Pane::Flows => Some(self.view.flows.get(row)?.latest),
            Pane::Packets => Some(self.view.packets.get(row)?.serial),
            Pane::Findings => Some(self.view.findings.as_ref()?.get(row)?.serial),
            Pane::Fates | Pane::Segments => None,
        }
    }

    fn down(&mut self, rows: isize) {
        let page = self.page();
        if let Some(tree) = &mut self.tree {
            let last = tree.lines.len().saturating_sub(page);
            tree.top = tree.top.saturating_add_signed(rows).min(last);
        } else {
            let row = self.at(self.pane).row.saturating_add_signed(rows);
            self.set_row(self.pane, row);
        }
    }

    fn set_row(&mut self, pane: Pane, row: usize) {
        let last = self.rows(pane).saturating_sub(1);
        if let Some(at) = self.at.get_mut(pane.index()) {
            at.row = row.min(last);
        }
    }

    fn shift(&mut self) -> &mut usize {
        match (&mut self.tree, self.at.as_mut_slice()) {
            (Some(tree), _) => &mut tree.shift,
            (None, at) => &mut at[self.pane as usize].shift,
        }
    }

    /// Rows that are moved by a page.
    fn page(&self) -> usize {
        let around = match self.tree {
            Some(_) => super::draw::AROUND_TREE,
            None => super::draw::around_pane(self.height, self.panes().len()),
        };
        self.height.saturating_sub(around).max(1)
    }
}
