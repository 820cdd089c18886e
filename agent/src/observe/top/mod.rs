//! `baton watch --top`: a screen of workloads, and of the last requests of one.

mod board;
mod draw;
mod feed;
mod screen;
mod view;
mod window;
mod workload;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use self::board::{Board, End};
use self::draw::Setting;
use self::feed::Clock;
use self::screen::Screen;
use self::view::{View, Wish};
use super::source::Source;
use crate::cli::Watch;

/// Time between two looks at what has changed.
const TICK: Duration = Duration::from_millis(200);

/// Rates fall without flow events, until this long after the last one.
const RESTLESS: Duration = Duration::from_secs(6);

/// Draws until somebody quits.
///
/// # Errors
/// [`Failure::Usage`](crate::failure::Failure::Usage) without a terminal; if flow events cannot be read.
pub(crate) async fn run(watch: Watch) -> anyhow::Result<()> {
    screen::require_terminal()?;
    let source = Source::open(&watch.from)?;
    let is_live = source.is_live();
    let setting = Setting {
        source: match &watch.from.from {
            None => "live".to_owned(),
            Some(path) if path == Path::new("-") => "standard input".to_owned(),
            Some(path) => path.display().to_string(),
        },
        coloured: screen::is_coloured(),
        show_values: watch.show_values,
    };
    let (start, clock) = (Instant::now(), Clock::new(!is_live));
    let board = feed::start(source, watch.filter, clock)?;
    let mut screen = Screen::take()?;
    let shown = show(&mut screen, &setting, &board, start).await;
    drop(screen);
    shown?;
    // So that it is there when the screen is not any more.
    match board.lock().end.take() {
        Some(End::Failed(why)) => anyhow::bail!(why),
        Some(End::Over) if is_live => super::say("the daemon ended"),
        Some(End::Over) | None => {}
    }
    Ok(())
}

/// Draws what changes, and does what keys say.
async fn show(screen: &mut Screen, setting: &Setting, board: &feed::Shared, start: Instant) -> anyhow::Result<()> {
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(terminate), Ok(interrupt), Ok(hang_up)] = &mut ends else { anyhow::bail!("failed to wait for signals") };
    let (mut keys, mut view) = (EventStream::new(), View::default());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was drawn last.
    let mut drawn = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            event = keys.next() => {
                let Some(event) = event.transpose().context("failed to read keys")? else { return Ok(()) };
                if let Event::Key(key) = event {
                    let mut board = board.lock();
                    match view.press(key, &board, start.elapsed()) {
                        Wish::On => {}
                        Wish::Quit => return Ok(()),
                        Wish::Reset => {
                            board.reset();
                            view.frozen = None;
                        }
                    }
                }
                drawn = None;
            }
            _ = ticks.tick() => {}
        }
        let board = board.lock();
        let now = start.elapsed();
        if drawn != Some(board.version) || is_restless(&board, &view, now) {
            drawn = Some(board.version);
            let done = screen.terminal.draw(|frame| draw::draw(frame, setting, &mut view, &board, now));
            done.context("failed to draw")?;
        }
    }
}

/// Whether what is seen changes by itself.
fn is_restless(board: &Board, view: &View, now: Duration) -> bool {
    !board.is_recorded && view.frozen.is_none() && now.saturating_sub(board.last) < RESTLESS
}
