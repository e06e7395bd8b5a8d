//! What the screen looks like, and what keys do; no terminal is needed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use skbtrace_common::{Plain as _, record::RawEvent};

use super::{
    draw::draw,
    state::{Pane, Reaction, State},
    tally::{FLOWS, Flows, LATEST, Tally},
    view::View,
    *,
};
use crate::{
    decode::testing::{self, Machine},
    diagnosis::Options,
    gap::Gap,
    journey::{
        Limits,
        tests::{at, child},
    },
    record::Record,
    render::{
        Renderer, TimeFormat,
        tree::{
            Block,
            tests::{scene, told},
        },
    },
};
use std::{cell::RefCell, rc::Rc};

/// When the screens are drawn.
const NOW_NS: u64 = 72_000_000_000;

fn watch(records: &[Record], gap: Option<(usize, Gap)>) -> Watch {
    watch_explained(records, gap, None)
}

fn watch_explained(
    records: &[Record],
    gap: Option<(usize, Gap)>,
    explain: Option<Options>,
) -> Watch {
    let tally = Tally::new(Limits::default(), explain);
    let mut watch = Watch(Rc::new(RefCell::new(tally)));
    told(&mut watch, records, gap);
    let is_waiting = watch.settled(NOW_NS, &Machine::new(), &mut Vec::new());
    assert!(!is_waiting);
    watch
}

fn view(watch: &Watch) -> View {
    let mut view = View::of(&watch.0.borrow());
    (view.now_ns, view.seconds, view.rate) = (NOW_NS, 83, 120);
    view
}

fn state(watch: &Watch) -> State {
    let mut state = State {
        height: 24,
        ..State::default()
    };
    state.update(view(watch));
    state
}

fn drawn(state: &State, width: u16, height: u16) -> TestBackend {
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a terminal");
    terminal.draw(|frame| draw(state, frame)).expect("drawn");
    terminal.backend().clone()
}

fn press(state: &mut State, code: KeyCode) -> Reaction {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// A packet of its own flow that passes `ip_rcv` and is freed.
fn passing(id: u64, time_ns: u64, last_byte: u8) -> Vec<Record> {
    let like = |function, time_ns| -> RawEvent {
        let mut raw = at(id, function, time_ns);
        raw.packet[24 + 19] = last_byte;
        raw
    };
    vec![
        testing::parse(like("ip_rcv", time_ns).as_bytes()),
        testing::parse(like("skb_release_head_state", time_ns + 5_000).as_bytes()),
    ]
}

/// The article's scene, some packets of other flows, and one that lives.
fn busy() -> Watch {
    let mut records = scene();
    for id in 3..9_u64 {
        let last_byte = if id < 6 { 1 } else { id as u8 };
        records.extend(passing(id, id * 10_000_000_000, last_byte));
    }
    records.sort_by_key(|record| record.event.time_ns);
    let alive = at(20, "ip_forward", NOW_NS - 1000);
    records.retain(|record| record.event.time_ns < NOW_NS);
    records.push(testing::parse(alive.as_bytes()));
    let gap = Gap {
        since_ns: 1,
        until_ns: 2,
        lost: vec![7],
    };
    watch(&records, Some((0, gap)))
}

fn tree(watch: &Watch, state: &State) -> String {
    let serial = state.view.packets.last().expect("a packet").serial;
    let family = watch.0.borrow().family(serial).expect("kept");
    let mut text = Vec::new();
    Block::new(TimeFormat::SinceBoot).push(&family, &Machine::new(), &mut text);
    String::from_utf8(text).expect("ASCII")
}

#[test]
fn nothing_yet() {
    let empty = state(&watch(&[], None));
    insta::assert_snapshot!(drawn(&empty, 80, 24));
}

#[test]
fn tables() {
    insta::assert_snapshot!(drawn(&state(&busy()), 80, 24));
}

#[test]
fn a_larger_terminal() {
    let mut state = state(&busy());
    press(&mut state, KeyCode::BackTab);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char('p'));
    insta::assert_snapshot!(drawn(&state, 100, 30));
}

/// What waits for longer than a millisecond is found, and opens with the first packet that did.
#[test]
fn findings() {
    let slow = |id: u64, time_ns| {
        let mut both = passing(id, time_ns, 1);
        let mut later = at(id, "ip_forward", time_ns + 3_000_000);
        later.packet[24 + 19] = 1;
        both.insert(1, testing::parse(later.as_bytes()));
        both[2].event.time_ns = time_ns + 3_001_000;
        both
    };
    let records = [slow(1, 10_000), slow(2, 40_000_000)].concat();
    let options = Options {
        patience_ns: 1_000_000,
    };
    let watch = watch_explained(&records, None, Some(options));
    let mut state = state(&watch);
    press(&mut state, KeyCode::BackTab);
    assert_eq!(state.pane, Pane::Findings);
    insta::assert_snapshot!(drawn(&state, 80, 24));
    assert_eq!(press(&mut state, KeyCode::Enter), Reaction::Open(1));
}

#[test]
fn a_tree() {
    let watch = busy();
    let mut state = state(&watch);
    state.open(&tree(&watch, &state));
    insta::assert_snapshot!("tree", drawn(&state, 80, 24));
    for _ in 0..2 {
        press(&mut state, KeyCode::Right);
    }
    press(&mut state, KeyCode::PageDown);
    insta::assert_snapshot!("tree_scrolled", drawn(&state, 80, 24));
}

#[test]
fn a_small_terminal() {
    let mut state = state(&busy());
    press(&mut state, KeyCode::Tab);
    insta::assert_snapshot!(drawn(&state, 48, 8));
}

#[test]
fn the_keys_are_told() {
    let mut state = state(&busy());
    press(&mut state, KeyCode::Char('?'));
    let text = drawn(&state, 80, 24).to_string();
    for key in [
        "quit",
        "Tab",
        "PgUp",
        "Enter",
        "Backspace",
        "pause",
        "more than PKTS",
    ] {
        assert!(text.contains(key), "{key}\n{text}");
    }
}

#[test]
fn ways_out() {
    let mut state = state(&busy());
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.key(control_c), Reaction::Quit);
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut state, code), Reaction::Quit);
    }
    // From a tree and from the help there is a way back.
    state.open("tree");
    assert_eq!(press(&mut state, KeyCode::Char('?')), Reaction::Draw);
    assert_eq!(press(&mut state, KeyCode::Esc), Reaction::Draw);
    assert!(!state.help && state.tree.is_some());
    assert_eq!(press(&mut state, KeyCode::Backspace), Reaction::Draw);
    assert!(state.tree.is_none());
    assert_eq!(press(&mut state, KeyCode::Esc), Reaction::Quit);
}

#[test]
fn what_is_chosen_is_opened() {
    let watch = busy();
    let mut state = state(&watch);
    // The flow with the most packets, of which the fifth was the last.
    let Reaction::Open(serial) = press(&mut state, KeyCode::Enter) else {
        panic!("nothing opened");
    };
    let family = watch.0.borrow().family(serial).expect("kept");
    assert_eq!(family.journeys[0].hops[0].time_ns, 50_000_000_000);
    press(&mut state, KeyCode::Tab);
    assert_eq!(press(&mut state, KeyCode::Enter), Reaction::None);
    press(&mut state, KeyCode::BackTab);
    press(&mut state, KeyCode::BackTab);
    assert_eq!(state.pane, Pane::Packets);
    press(&mut state, KeyCode::End);
    assert_eq!(press(&mut state, KeyCode::Enter), Reaction::Open(1));
}

#[test]
fn a_chosen_packet_stays_chosen() {
    let mut state = state(&watch(&passing(1, 1, 1), None));
    press(&mut state, KeyCode::BackTab);
    let two = |first| [passing(first, 1, 1), passing(first + 1, 90_000, 2)].concat();
    state.update(view(&watch(&two(1), None)));
    assert_eq!(
        state.at(Pane::Packets).row,
        0,
        "the newest, whichever it is"
    );
    press(&mut state, KeyCode::Down);
    let three = [two(1), passing(3, 190_000, 3)].concat();
    state.update(view(&watch(&three, None)));
    assert_eq!(state.at(Pane::Packets).row, 2);
    state.update(view(&watch(&[], None)));
    assert_eq!(state.at(Pane::Packets).row, 0);
}

#[test]
fn memory_is_bounded() {
    let records: Vec<_> = (1..=2 * FLOWS as u64)
        .flat_map(|id| {
            let mut both = passing(id, id * 100_000, id as u8);
            for record in &mut both {
                record.event.packet[24 + 18] = (id >> 8) as u8;
            }
            both
        })
        .collect();
    let watch = watch(&records, None);
    let tally = watch.0.borrow();
    assert_eq!(tally.latest().count(), LATEST);
    assert!(tally.flows.len() <= FLOWS);
    let all = tally.flows.len() as u64 + tally.flows.given_up();
    assert_eq!(all, 2 * FLOWS as u64);
    // The one that was seen last is among them.
    let last = tally.flows.top(FLOWS).into_iter();
    let last = last.map(|(_, flow)| flow.last_ns).max();
    assert_eq!(last, Some(2 * FLOWS as u64 * 100_000 + 5_000));
    assert_eq!(Flows::new(FLOWS).given_up(), 0);
}

fn keys() -> impl Strategy<Value = Vec<KeyCode>> {
    let keys = [
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Enter,
        KeyCode::Backspace,
        KeyCode::Esc,
        KeyCode::Char('p'),
        KeyCode::Char('?'),
    ];
    proptest::collection::vec(proptest::sample::select(keys.to_vec()), 0..20)
}

proptest! {
    #[test]
    fn any_events_keys_and_sizes(
        events in proptest::collection::vec(
            (any::<[u8; 16]>(), 1..8_u64, 0..8_u64, 0..64_u16, 0..NOW_NS), 0..40),
        keys in keys(),
        (width, height) in (1..140_u16, 1..40_u16),
        opens: bool,
    ) {
        let mut records: Vec<_> = events
            .into_iter()
            .map(|(name, id, parent, hook, time_ns)| {
                let mut raw = child(id, parent, "ip_rcv", time_ns);
                (raw.ifname, raw.comm, raw.hook) = (name, name, hook);
                testing::parse(raw.as_bytes())
            })
            .collect();
        records.sort_by_key(|record| record.event.time_ns);
        let watch = Watch(Rc::new(RefCell::new(Tally::new(Limits { families: 2, hops: 20 }, None))));
        told(&mut Watch(Rc::clone(&watch.0)), &records, None);
        let mut state = State { height: height.into(), ..State::default() };
        state.update(view(&watch));
        if opens && !state.view.packets.is_empty() {
            state.open(&tree(&watch, &state));
        }
        for code in keys {
            press(&mut state, code);
            let screen = drawn(&state, width, height);
            let text = screen.buffer().content().iter().map(|cell| cell.symbol());
            for symbol in text {
                prop_assert!(matches!(symbol.as_bytes(), [b' '..=b'~']), "{symbol:?}");
            }
        }
    }
}
