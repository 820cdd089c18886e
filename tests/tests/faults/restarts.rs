//! baton is killed, ended, started again, reloaded and upgraded at random moments while 64 clients send requests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::{self, Daemon};
use baton_tests::bpf::{Objects, nothing_new_since};
use baton_tests::cgroup::Cgroup;
use baton_tests::exchange::{Exchanges, Shape};
use baton_tests::load::scaled;
use baton_tests::pins::Pins;
use baton_tests::random::Random;
use baton_tests::scratch::Scratch;

const CLIENTS: usize = 64;

/// How many times, in the long form.
const ROUNDS: usize = 200;

/// How many times at least, and for how many seconds at most beyond that, otherwise; scaled as numbers of requests are.
const FEWEST: usize = 20;
const SECONDS: usize = 40;

/// The longest time between two strokes, in milliseconds.
const PAUSE: usize = 400;

/// Starts daemons of two builds.
struct Builds<'a> {
    cgroup: &'a Cgroup,
    pins: Option<&'a Pins>,
    paths: [PathBuf; 2],
    current: usize,
    _files: Scratch,
}

impl<'a> Builds<'a> {
    fn new(cgroup: &'a Cgroup, pins: Option<&'a Pins>) -> Result<Self> {
        let files = Scratch::new()?;
        let (one, other) = (baton::binary()?, files.join("baton"));
        std::fs::copy(&one, &other).context("failed to copy the executable")?;
        Ok(Self { cgroup, pins, paths: [one, other], current: 0, _files: files })
    }

    /// Starts the current build, and waits for nothing.
    fn launch(&self) -> Result<Daemon> {
        let mut run = std::process::Command::new(&self.paths[self.current]);
        run.arg("run");
        if let Some(pins) = self.pins {
            run.arg("--pin-dir").arg(pins.directory());
        }
        Daemon::launch(run, &baton::config(&[self.cgroup.path()]))
    }

    fn ready(&self) -> Result<Daemon> {
        let mut daemon = self.launch()?;
        daemon.until_ready()?;
        Ok(daemon)
    }

    /// One stroke against the running daemon; returns its successor.
    fn strike(&mut self, daemon: Daemon, random: &mut Random) -> Result<Daemon> {
        match random.below(6) {
            0 | 1 => {
                daemon.kill()?;
                self.ready()
            }
            2 => {
                ensure!(daemon.stop()? == 0, "the status after SIGTERM");
                self.ready()
            }
            3 => {
                // A successor that is killed while it starts.
                daemon.kill()?;
                let early = self.launch()?;
                rest(random, PAUSE);
                early.kill()?;
                self.ready()
            }
            4 => {
                daemon.reload(&[])?;
                rest(random, PAUSE);
                daemon.reload(&[self.cgroup.path()])?;
                Ok(daemon)
            }
            _ => {
                self.current = 1 - self.current;
                if self.pins.is_some() {
                    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
                    self.ready()
                } else {
                    // The new one begins before the old one ends.
                    let new = self.ready()?;
                    ensure!(daemon.stop()? == 0, "the status after SIGTERM");
                    Ok(new)
                }
            }
        }
    }
}

/// Lets the traffic go on for a random time.
fn rest(random: &mut Random, longest: usize) {
    std::thread::sleep(Duration::from_millis(random.below(longest) as u64));
}

fn struck_under_load(pins: Option<&Pins>, variables: &[(&str, &str)], shape: &Shape) -> Result<()> {
    let (before, mut random) = (Objects::now()?, Random::of_this_run());
    let (cgroup, exchanges) = (Cgroup::new()?, Exchanges::new()?);
    let app = exchanges.program(variables)?.start(&Launch::In(&cgroup))?;
    let mut builds = Builds::new(&cgroup, pins)?;
    let mut daemon = builds.ready()?;
    let done = AtomicBool::new(false);
    let mut load_random = Random::new(random.number());
    let (rounds, last) = std::thread::scope(|scope| {
        scope.spawn(|| {
            exchanges.load(app.address(), CLIENTS, shape, &mut load_random, || done.load(Ordering::SeqCst));
        });
        let struck = (|| -> Result<_> {
            let start = Instant::now();
            let wanted = if super::long() { ROUNDS } else { scaled(FEWEST) };
            let short = Duration::from_secs(scaled(SECONDS) as u64);
            let mut round = 0;
            while round < wanted || (!super::long() && start.elapsed() < short && round < ROUNDS) {
                rest(&mut random, PAUSE);
                daemon = builds.strike(daemon, &mut random).with_context(|| format!("round {round}"))?;
                round += 1;
            }
            Ok((round, daemon))
        })();
        done.store(true, Ordering::SeqCst);
        struck
    })?;
    let mut outcome = exchanges.outcome()?;
    eprintln!("{rounds} rounds; {outcome}");
    outcome.flawless()?;
    ensure!(outcome.carried > 0 && outcome.lost > 0, "not in mid-traffic: {outcome}");
    // What is left takes part again.
    let carried = outcome.carried;
    let end = exchanges.count() + 500;
    exchanges.load(app.address(), 8, shape, &mut random, || exchanges.count() >= end);
    outcome = exchanges.outcome()?;
    outcome.flawless()?;
    ensure!(outcome.carried > carried, "nothing is carried after all that: {}", last.output());
    drop(app);
    ensure!(last.stop()? == 0, "the status after SIGTERM");
    nothing_new_since(&before)
}

/// Connections that are kept; bodies of up to 2 MB.
const KEPT: Shape = Shape { largest: 2_000_000, pause: 120, ..Shape::PLAIN };

#[test]
fn blocking_connections_survive_strokes_at_random_moments() -> Result<()> {
    struck_under_load(None, &[], &KEPT)
}

#[test]
fn non_blocking_connections_survive_strokes_at_random_moments_with_pins() -> Result<()> {
    let pins = Pins::new()?;
    struck_under_load(Some(&pins), &[("NONBLOCK", "1")], &KEPT)?;
    ensure!(pins.is_empty(), "a pin is left");
    Ok(())
}
