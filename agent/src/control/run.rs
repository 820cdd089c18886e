//! `baton run`: the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::guard::{Ended, Guard};
use super::plan::Plan;
use super::signals::Signals;
use super::socket::Listener;
use super::{cgroup, namespace};
use crate::cli::Run;
use crate::datapath::load::{Datapath, Options};
use crate::datapath::workload::{Desired, Workloads};
use crate::datapath::{adopt, drain, probe, selftest};
use crate::observe;
use crate::observe::event::Reader;
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
    adoption: Adoption,
}

/// When open connections are looked at again that were in use.
#[derive(Clone, Copy, Debug)]
struct Adoption {
    /// Housekeeping rounds until the next look; 0 if none is due.
    rounds: u32,
    /// Rounds before the last look.
    pause: u32,
}

impl Adoption {
    /// Longest pause, in rounds: after it, what is left is left.
    const LAST: u32 = 64;
    const NONE: Self = Self { rounds: 0, pause: 0 };

    /// After a look that left some connections: the next one comes after twice the time.
    const fn again(self) -> Self {
        let pause = if self.pause == 0 { 1 } else { self.pause * 2 };
        if pause > Self::LAST { Self::NONE } else { Self { rounds: pause, pause } }
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(arguments: Run) -> anyhow::Result<()> {
    let plan = Plan::make(&arguments.policy)?;
    let desired = plan.workloads(&arguments.cgroups);
    probe::require()?;
    for workload in &desired {
        cgroup::check(&workload.cgroup)?;
    }
    let mut signals = Signals::take()?;
    let mut datapath = Datapath::load(Options::of(&plan), &plan.headers.table()?)?;
    selftest::choose(&mut datapath)?;
    let mut listener = Listener::open(&arguments.socket)?;
    let mut reader = Reader::new(datapath.take_events()?, &plan.headers);
    let tracker = Tracker::new(&mut datapath)?;
    let mut daemon = Daemon {
        arguments,
        plan,
        datapath,
        tracker,
        workloads: Workloads::default(),
        guard: None,
        to_leave: 0,
        waiting: false,
        adoption: Adoption::NONE,
    };
    let ended = match daemon.begin(desired) {
        Ok(()) => daemon.serve(&mut signals, &mut listener, &mut reader).await,
        Err(error) => Err(error),
    };
    listener.close();
    daemon.end();
    ended
}

impl Daemon {
    fn begin(&mut self, desired: Vec<Desired>) -> anyhow::Result<()> {
        for workload in desired {
            self.workloads.attach(&mut self.datapath, workload)?;
        }
        self.guard = Some(Guard::start(&mut self.datapath, &mut self.workloads, None)?);
        self.workloads.switch_on(&mut self.datapath)?;
        self.adopt()?;
        self.report("ready");
        Ok(())
    }

    /// Says that something is so now.
    fn report(&self, event: &str) {
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
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        for interval in [&mut ticks, &mut housekeeping] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                received = signals.next() => match received?.signal {
                    Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => return Ok(()),
                    Signal::SIGHUP => self.reload(reader),
                    Signal::SIGCHLD => self.keep_guarded()?,
                    _ => {}
                },
                watcher = listener.accept() => {
                    if watcher? {
                        self.datapath.want_events(true)?;
                    }
                }
                news = self.tracker.news() => {
                    news?;
                    self.tracker.read(&mut self.datapath)?;
                }
                _ = ticks.tick(), if listener.is_watched() => {
                    reader.read(&self.workloads, |event| listener.send(event))?;
                    listener.flush();
                    if !listener.is_watched() {
                        self.datapath.want_events(false)?;
                    }
                }
                _ = housekeeping.tick() => {
                    self.let_leave()?;
                    self.look_again()?;
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

    fn try_reload(&mut self, reader: &mut Reader) -> anyhow::Result<()> {
        let plan = Plan::make(&self.arguments.policy)?;
        let desired = plan.workloads(&self.arguments.cgroups);
        for workload in &desired {
            cgroup::check(&workload.cgroup)?;
        }
        anyhow::ensure!(
            (plan.contexts, plan.max_age) == (self.plan.contexts, self.plan.max_age),
            "limits are set when baton starts: restart it to change them"
        );
        if plan.headers != self.plan.headers {
            self.datapath.set_names(&plan.headers.table()?)?;
            reader.set_headers(&plan.headers);
        }
        self.plan = plan;
        let gone: Vec<PathBuf> = self
            .workloads
            .iter()
            .filter(|attached| !desired.contains(&attached.desired))
            .map(|attached| attached.desired.cgroup.clone())
            .collect();
        for directory in gone {
            self.workloads.detach(&mut self.datapath, &directory)?;
            self.waiting = true;
        }
        for workload in desired {
            if self.workloads.iter().all(|attached| attached.desired != workload) {
                self.workloads.attach(&mut self.datapath, workload)?;
            }
        }
        let guard = Guard::start(&mut self.datapath, &mut self.workloads, None)?;
        if let Some(old) = self.guard.replace(guard) {
            old.dismiss();
        }
        self.workloads.switch_on(&mut self.datapath)?;
        self.adoption = Adoption::NONE;
        self.adopt()
    }

    /// Takes in the connections that were open before their workload was selected.
    fn adopt(&mut self) -> anyhow::Result<()> {
        let mut left = 0;
        for workload in self.workloads.iter() {
            self.tracker.look_at(&mut self.datapath, &cgroup::processes(&workload.desired.cgroup))?;
            let adopted = adopt::adopt(&mut self.datapath, workload)?;
            left += adopted.left;
            if adopted.hidden > 0 && self.adoption.pause == 0 {
                observe::say(&format!(
                    "the open connections of {} processes of {} are not followed until they are opened anew: it takes CAP_SYS_PTRACE to look at them",
                    adopted.hidden, workload.desired.name
                ));
            }
            tracing::info!(workload = workload.desired.name, ?adopted, "open connections");
        }
        self.adoption = if left > 0 { self.adoption.again() } else { Adoption::NONE };
        Ok(())
    }

    /// Looks again at connections that were in use, with growing pauses.
    fn look_again(&mut self) -> anyhow::Result<()> {
        match self.adoption.rounds {
            0 => Ok(()),
            1 => self.adopt(),
            _ => {
                self.adoption.rounds -= 1;
                Ok(())
            }
        }
    }

    /// Starts another guard where somebody killed it.
    fn keep_guarded(&mut self) -> anyhow::Result<()> {
        if self.guard.as_ref().is_some_and(Guard::is_dead) {
            observe::say("the guard process was killed; another one takes its place");
            self.guard = Some(Guard::start(&mut self.datapath, &mut self.workloads, None)?);
        }
        Ok(())
    }

    /// Lets sockets leave the SOCKHASH that do not speak HTTP/1, or whose
    /// workload was switched off.
    fn let_leave(&mut self) -> anyhow::Result<()> {
        let mut to_leave = 0;
        for workload in self.workloads.iter() {
            to_leave += self.datapath.counter(workload.index, baton_common::flow::counter::TO_LEAVE)?;
        }
        if to_leave == self.to_leave && !self.waiting {
            return Ok(());
        }
        self.to_leave = to_leave;
        let cgroups: Vec<PathBuf> = self.workloads.iter().map(|workload| workload.desired.cgroup.clone()).collect();
        let cgroups: Vec<&Path> = cgroups.iter().map(PathBuf::as_path).collect();
        let mut waiting = 0;
        namespace::in_each(&cgroups, || {
            waiting += drain::pass(&mut self.datapath)?;
            Ok(())
        })?;
        self.waiting = waiting > 0;
        Ok(())
    }

    /// Leaves the kernel as it was.
    fn end(mut self) {
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
