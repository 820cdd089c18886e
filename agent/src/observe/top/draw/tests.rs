use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use crate::observe::flow::tests::lost;
use crate::observe::flow::{FlowEvent, Kind, Notice, Record};

const NOW: Duration = Duration::from_secs(10);

fn setting() -> Setting {
    Setting { source: "live".to_owned(), coloured: true, show_values: false }
}

fn add(board: &mut Board, event: FlowEvent) {
    board.add(Record::Flow(Box::new(event)), NOW);
}

/// A workload that keeps half of what it has, and answers.
fn board() -> Board {
    let mut board = Board::new(false);
    let inbound = FlowEvent {
        kind: Kind::Inbound,
        verdict: None,
        reason: None,
        path: "/cart".to_owned(),
        connection: Some("7".to_owned()),
        headers: vec!["x-tenant-id".to_owned()],
        values: [("x-tenant-id".to_owned(), "secret".to_owned())].into(),
        ..lost()
    };
    add(&mut board, inbound.clone());
    add(&mut board, FlowEvent { verdict: Some("injected".into()), reason: None, ..lost() });
    add(&mut board, lost());
    let answer = (Some(Kind::Inbound), Some(200), Some(1500));
    let (answers, status, latency_us) = answer;
    add(&mut board, FlowEvent { kind: Kind::Response, answers, status, latency_us, ..inbound });
    board
}

fn buffer(view: &mut View, board: &Board, size: (u16, u16), setting: &Setting) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
    terminal.draw(|frame| draw(frame, setting, view, board, NOW)).expect("cannot fail");
    terminal.backend().buffer().clone()
}

/// The lines that are seen.
fn screen(view: &mut View, board: &Board, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(view, board, (width, height), &setting());
    let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    cells.chunks(usize::from(width)).map(|line| line.concat().trim_end().to_owned()).collect()
}

fn press(view: &mut View, board: &Board, keys: &[KeyCode]) {
    for code in keys {
        view.press(KeyEvent::from(*code), board, NOW);
    }
}

#[test]
fn workloads_in_80_columns() {
    let lines = screen(&mut View::default(), &board(), 80, 24);
    assert_eq!(lines[0], "baton  1 workload, 0.6 requests/s  by requests/s  live");
    assert_eq!(lines[1], "WORKLOAD      REQ/S     P50     P99 PROPAGATED   LOST LOSSES BY REASON");
    assert_eq!(lines[2], "shop/cart-1     0.6  1.5 ms  1.5 ms     50.0 %      1 ambiguous 1");
    assert_eq!(lines[23], "q quit  Enter requests  s sort  / filter  p pause  ? help");
}

#[test]
fn workloads_in_40_columns() {
    let lines = screen(&mut View::default(), &board(), 40, 10);
    assert_eq!(lines[1], "WORKLOAD         REQ/S PROPAGATED   LOST");
    assert_eq!(lines[2], "shop/cart-1        0.6     50.0 %      1");
    assert_eq!(lines.len(), 10);
}

#[test]
fn requests_of_one_workload() {
    let (mut view, board) = (View::default(), board());
    press(&mut view, &board, &[KeyCode::Enter]);
    let lines = screen(&mut view, &board, 100, 24);
    assert_eq!(lines[0], "baton  shop/cart-1  live");
    assert_eq!(lines[1], "1 in, 2 out  50.0 % propagated  p50 1.5 ms, p99 1.5 ms");
    assert_eq!(lines[2], "lost: ambiguous 1");
    let found = [
        "03:04:05.678  out  python3[7]  GET /stock/7  to 127.0.0.1:80  lost: ambiguous  #ab",
        "03:04:05.678  out  python3[7]  GET /stock/7  to 127.0.0.1:80  injected  #ab",
        "03:04:05.678  in   python3[7]  GET /cart  from 127.0.0.1:80  x-tenant-id=secr… (6)  #ab  200 in 1.5 ms",
    ];
    assert_eq!(lines[3..5], found[..2]);
    assert_eq!(
        lines[5],
        found[2][..found[2].char_indices().nth(100).map_or(found[2].len(), |(end, _)| end)].trim_end()
    );
    let text = lines.join("\n");
    let explained = crate::observe::remedy::of("ambiguous").expect("a reason");
    for (word, said) in [("why: ", explained.why), ("do:  ", explained.remedy)] {
        let begun: String = said.chars().take(40).collect();
        assert!(text.contains(&format!("{word}{begun}")), "{text}");
    }
    // With little room, requests alone.
    let lines = screen(&mut view, &board, 40, 10);
    assert_eq!(lines[1], &found[0][..40]);
}

#[test]
fn what_is_missed_said_and_over_is_seen() {
    let mut board = board();
    board.add(Record::Missed(12), NOW);
    let notice = Notice {
        time: String::new(),
        object: "pod".to_owned(),
        workload: "shop/web".to_owned(),
        message: "is not on".to_owned(),
    };
    board.add(Record::Notice(notice), NOW);
    board.end(End::Over);
    let lines = screen(&mut View::default(), &board, 80, 24);
    assert_eq!(lines[22], "the daemon ended · 12 missed: too many at once · pod shop/web: is not on");
    board.end(End::Failed("line 2 of x: \x1b[2Jno".to_owned()));
    assert!(screen(&mut View::default(), &board, 80, 24)[22].starts_with("line 2 of x: \u{fffd}[2Jno · 12 missed"));
}

#[test]
fn pausing_is_seen() {
    let (mut view, mut board) = (View::default(), board());
    press(&mut view, &board, &[KeyCode::Char('p')]);
    add(&mut board, FlowEvent { workload: "later".to_owned(), ..lost() });
    let lines = screen(&mut view, &board, 80, 24);
    assert!(lines[0].starts_with("baton  PAUSED  1 workload"), "{}", lines[0]);
    assert!(view.frozen.is_some());
}

#[test]
fn nothing_to_show_says_why() {
    let (mut view, empty) = (View::default(), Board::new(false));
    assert!(screen(&mut view, &empty, 80, 24)[1].starts_with("No request yet. Is the workload switched on"));
    assert!(screen(&mut view, &Board::new(true), 80, 24)[1].starts_with("The file has no request"));
    press(&mut view, &board(), &[KeyCode::Char('/'), KeyCode::Char('z')]);
    let lines = screen(&mut view, &board(), 80, 24);
    assert_eq!((lines[1].as_str(), lines[23].as_str()), ("No workload's name has `z` in it. Esc shows all.", "/z"));
}

#[test]
fn help_says_what_is_meant() {
    let (mut view, board) = (View::default(), board());
    press(&mut view, &board, &[KeyCode::Char('?')]);
    let text = screen(&mut view, &board, 80, 24).join("\n");
    assert!(text.contains("any key ends this") && text.contains("missed      requests that came"), "{text}");
}

#[test]
fn without_colours_there_are_none() {
    let (mut view, board) = (View::default(), board());
    let coloured = |view: &mut View, coloured| {
        let setting = Setting { coloured, ..setting() };
        let buffer = buffer(view, &board, (80, 24), &setting);
        buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(&mut view, true) && !coloured(&mut view, false));
    press(&mut view, &board, &[KeyCode::Enter]);
    assert!(coloured(&mut view, true) && !coloured(&mut view, false));
}

#[test]
fn terminals_are_safe() {
    let mut board = Board::new(false);
    let evil = "\x1b[2J\x07\u{202e}".to_owned();
    let event = FlowEvent {
        workload: evil.clone(),
        path: evil.clone(),
        comm: evil.clone(),
        method: evil.clone(),
        peer: evil.clone(),
        headers: vec![evil.clone()],
        context: Some(evil.clone()),
        reason: Some(evil.clone().into()),
        ..lost()
    };
    add(&mut board, event);
    let mut view = View { filter: String::new(), ..View::default() };
    for keys in [&[][..], &[KeyCode::Enter]] {
        press(&mut view, &board, keys);
        let text = screen(&mut view, &board, 120, 30).concat();
        assert!(text.contains("\u{fffd}[2J") && !text.chars().any(|shown| shown.is_control() || shown == '\u{202e}'));
    }
}

#[test]
fn no_size_breaks_it() {
    let board = board();
    for keys in [&[][..], &[KeyCode::Enter], &[KeyCode::Char('?')], &[KeyCode::Esc, KeyCode::Esc, KeyCode::Char('/')]] {
        let mut view = View::default();
        press(&mut view, &board, keys);
        for width in [0, 1, 2, 5, 11, 13, 20, 29, 40, 80, 300] {
            for height in (0..6).chain([14, 24, 60]) {
                buffer(&mut view, &board, (width, height), &setting());
            }
        }
    }
}
