//! `baton run`: the daemon.

mod adoption;
mod events;
mod needs;
pub(crate) mod own;
mod pods;
mod reconcile;
mod scrape;

use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use self::adoption::Adoption;
use self::pods::Pods;
use super::cgroup;
use super::confine::confine;
use super::guard::{Ended, Guard};
use super::health::Health;
use super::leaving::{self, Leaving};
use super::plan::Plan;
use super::scrape::Asked;
use super::signals::Signals;
use super::socket::Listener;
use crate::cli::Run;
use crate::datapath::load::{Datapath, Options};
use crate::datapath::messages::Messages;
use crate::datapath::pins::Pins;
use crate::datapath::workload::{Desired, Workloads};
use crate::datapath::{freeze, probe, selftest};
use crate::observe;
use crate::observe::event::Reader;
use crate::observe::otlp;
use crate::runtime::Tracker;

/// Time between two looks for flow events while somebody watches.
const TICK: Duration = Duration::from_millis(20);

/// Time between two looks for sockets that shall leave the SOCKHASH.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// How long the end waits for the last connections.
const PATIENCE: Duration = Duration::from_secs(3);

/// The running daemon.
struct Daemon {
    arguments: Run,
    plan: Plan,
    datapath: Datapath,
    tracker: Tracker,
    workloads: Workloads,
    guard: Option<Guard>,
    /// Sockets that ever shall leave, as of the last look; and whether some still wait.
    to_leave: u64,
    waiting: bool,
    leaving: Leaving,
    adoption: Adoption,
    /// Flow events that were ever skipped or dropped, as of the last look.
    skipped: u64,
    started: SystemTime,
    health: Health,
    /// Where it is asked for metrics.
    asked: Asked,
    /// With `--kubernetes`.
    pods: Option<Pods>,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(arguments: Run) -> anyhow::Result<()> {
    until(arguments, std::future::pending()).await
}

/// Runs until SIGTERM or SIGINT, or until `over`.
pub(crate) async fn until(arguments: Run, over: impl Future<Output = ()>) -> anyhow::Result<()> {
    let plan = Plan::make(&arguments.policy)?;
    let desired = plan.workloads(&arguments.cgroups);
    probe::require()?;
    for workload in &desired {
        cgroup::check(&workload.cgroup)?;
    }
    let mut signals = Signals::take()?;
    let (options, names) = (Options::of(&plan), plan.headers.table()?);
    let mut datapath = match &arguments.pin_dir {
        Some(directory) => Datapath::load_pinned(options, &names, Pins::take(directory)?)?,
        None => Datapath::load(options, &names)?,
    };
    selftest::choose(&mut datapath)?;
    let mut listener = Listener::open(&arguments.socket)?;
    if let Some(endpoint) = &arguments.otlp {
        otlp::follow(&arguments.socket, endpoint)?;
    }
    let mut reader = Reader::new(datapath.take_events()?, &plan.headers);
    let mut messages = datapath.take_messages()?;
    let tracker = Tracker::new(&mut datapath)?;
    let (health, asked) = Health::new();
    if let Some(address) = arguments.health_address() {
        health.serve(address).await?;
    }
    let pods = Pods::begin(&arguments, &plan).await?;
    if let Some(pods) = &pods {
        reader.set_names(pods.names());
    }
    observe::page::begin(&arguments).await?;
    confine(needs::of(&arguments, &desired, &mut datapath));
    let mut daemon = Daemon {
        arguments,
        plan,
        datapath,
        tracker,
        workloads: Workloads::default(),
        guard: None,
        to_leave: 0,
        waiting: false,
        leaving: Leaving::default(),
        adoption: Adoption::default(),
        skipped: 0,
        started: SystemTime::now(),
        health,
        asked,
        pods,
    };
    let ended = match daemon.begin(desired) {
        Ok(()) => daemon.serve(&mut signals, &mut listener, &mut reader, &mut messages, pin!(over)).await,
        Err(error) => Err(error),
    };
    listener.close();
    daemon.end();
    ended
}

impl Daemon {
    fn begin(&mut self, desired: Vec<Desired>) -> anyhow::Result<()> {
        if self.datapath.is_pinned() {
            freeze::recover(&mut self.datapath)?;
            self.waiting = true;
        }
        self.attach(desired)?;
        // What pods want is not known yet.
        self.health.set_ready(self.pods.is_none());
        self.report("ready");
        Ok(())
    }

    /// Says that something is so now.
    fn report(&self, event: &str) {
        if self.arguments.is_quiet {
            return;
        }
        let names: Vec<&str> = self.workloads.iter().map(|workload| workload.desired.name.as_str()).collect();
        let line = if self.arguments.json {
            serde_json::json!({
                "event": event,
                "workloads": names,
                "socket": self.arguments.socket,
                "kernel": probe::kernel_version(),
                "stream_verdict": self.datapath.is_cured(),
            })
            .to_string()
        } else {
            event.to_owned()
        };
        observe::print(&line);
    }

    async fn serve(
        &mut self,
        signals: &mut Signals,
        listener: &mut Listener,
        reader: &mut Reader,
        messages: &mut Messages,
        mut over: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        for interval in [&mut ticks, &mut housekeeping] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                received = signals.next() => match received?.signal {
                    signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) => {
                        tracing::info!(%signal, "ending");
                        return Ok(());
                    }
                    Signal::SIGHUP => self.reload(reader),
                    Signal::SIGCHLD => self.keep_guarded()?,
                    _ => {}
                },
                () = &mut over => return Ok(()),
                watcher = listener.accept() => {
                    self.add_watcher(listener, reader, watcher)?;
                    self.tell_again(listener)?;
                }
                () = messages.told() => {}
                news = self.tracker.news() => {
                    news?;
                    self.tracker.read(&mut self.datapath)?;
                }
                changed = pods::changed(&mut self.pods) => {
                    changed?;
                    self.follow_pods(listener)?;
                }
                question = self.asked.next() => self.answer(question, listener),
                () = self.adoption.is_due() => self.look_again()?,
                _ = ticks.tick(), if listener.is_watched() => {
                    reader.read(&self.workloads, |event| listener.send(event))?;
                    listener.flush();
                    self.set_wanted(listener)?;
                }
                _ = housekeeping.tick() => {
                    self.let_leave()?;
                    if listener.is_watched() {
                        self.tell_skipped(listener)?;
                    }
                    self.look_for_pods(listener)?;
                }
            }
        }
    }

    /// Reads the configuration again. What cannot be done is said, and
    /// everything stays as it was.
    fn reload(&mut self, reader: &mut Reader) {
        match self.try_reload(reader) {
            Ok(()) => self.report("reloaded"),
            Err(error) => observe::say(&format!("the configuration was read again and is not used: {error:#}")),
        }
    }

    /// Starts another guard where somebody killed it.
    fn keep_guarded(&mut self) -> anyhow::Result<()> {
        if self.guard.as_ref().is_some_and(Guard::is_dead) {
            observe::say("the guard process was killed; another one takes its place");
            self.renew_guard()?;
        }
        Ok(())
    }

    /// Lets all members leave, and takes out the pin if none is left.
    fn unpin(&mut self) {
        self.workloads.switch_off(&mut self.datapath);
        self.datapath.detach_tracepoints();
        let cgroups = self.directories();
        let directory = self.arguments.pin_dir.as_deref().unwrap_or(Path::new("")).display();
        match leaving::all(&mut self.datapath, &borrowed(&cgroups), PATIENCE) {
            Ok(0) => {}
            Ok(left) => observe::say(&format!(
                "{left} connections are in use and stay in {directory}, where nothing is done to them: the next `baton run --pin-dir {directory}` takes them over; to be rid of it, remove {directory} after these connections have ended"
            )),
            Err(error) => observe::say(&format!("connections may stay in {directory}: {error:#}")),
        }
    }

    /// The directories of all workloads.
    fn directories(&self) -> Vec<PathBuf> {
        self.workloads.iter().map(|workload| workload.desired.cgroup.clone()).collect()
    }

    /// Leaves the kernel as it was.
    fn end(mut self) {
        if self.datapath.is_pinned() {
            self.unpin();
            return;
        }
        let guard = self.guard.take().map_or_else(|| Guard::start(&mut self.datapath, &mut self.workloads, None), Ok);
        match guard.map(|guard| guard.finish(PATIENCE)) {
            Ok(Ended::Clean) => {}
            Ok(Ended::Waiting(process)) => observe::say(&format!(
                "some connections have unread data or a reader that waits: process {process} sees to it that they lose nothing, and removes the rest of baton then"
            )),
            Err(error) => observe::say(&format!("open connections may lose data: {error:#}")),
        }
    }
}

fn borrowed(paths: &[PathBuf]) -> Vec<&Path> {
    paths.iter().map(PathBuf::as_path).collect()
}
