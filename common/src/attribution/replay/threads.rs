//! Threads: servers that give a request a thread, pools that grow while requests are handled and then work for all,
//! and loops.

use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Script, World, flag};

const SERVERS: u32 = 4;
const WORKERS: usize = 3;

/// What really happens in the application.
struct Application {
    world: World,
    /// The open request of each serving thread; each has a connection of its own.
    serves: [Option<u64>; SERVERS as usize],
    /// Requests that wait for a worker.
    jobs: VecDeque<u64>,
    /// The request that each worker works for.
    workers: Vec<Option<u64>>,
    carried: usize,
}

impl Application {
    fn new() -> Self {
        let mut world = World::default();
        for _ in 0..SERVERS {
            world.connect();
        }
        Self { world, serves: [None; SERVERS as usize], jobs: VecDeque::new(), workers: Vec::new(), carried: 0 }
    }

    const fn worker(index: usize) -> u32 {
        SERVERS + index as u32
    }

    /// What `thread` sends must be its own request's, or nobody's.
    fn writes(&mut self, thread: u32, truth: Option<u64>) -> Result<(), TestCaseError> {
        if let Ok(found) = self.world.check(&self.world.thread(thread)) {
            prop_assert_eq!(Some(found), truth, "thread {} sends", thread);
            self.carried += 1;
        }
        Ok(())
    }

    fn step(&mut self, what: usize, who: usize) -> Result<(), TestCaseError> {
        let server = who % SERVERS as usize;
        let worker = who % WORKERS;
        match (what % 7, self.serves[server]) {
            (0, None) => {
                let claim = self.world.head(server);
                self.serves[server] = Some(claim.id);
                self.world.read(server as u32, claim);
            }
            // A job that is left behind when its request is answered may be taken up by a thread that the next one
            // starts: that cannot be seen (docs/DESIGN.md, "Shared"), and does not happen here.
            (1, Some(request)) if !self.jobs.contains(&request) => {
                self.serves[server] = None;
                self.world.answer(server);
            }
            (2, open) => self.writes(server as u32, open)?,
            (3, Some(request)) => {
                // A job for the pool, which starts another thread for it as long as it is small.
                self.jobs.push_back(request);
                if self.workers.len() < WORKERS {
                    self.world.spawn(server as u32, Self::worker(self.workers.len()));
                    self.workers.push(None);
                }
            }
            (4, _) if self.workers.get(worker) == Some(&None) => {
                self.workers[worker] = self.jobs.pop_front();
            }
            (5, _) if self.workers.get(worker).is_some_and(Option::is_some) => {
                let truth = self.workers[worker];
                self.writes(Self::worker(worker), truth)?;
            }
            (6, _) if worker < self.workers.len() => self.workers[worker] = None,
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_thread_sends_its_own_requests_headers_or_none(script in prop::collection::vec(any::<u16>(), 0..400)) {
        let mut application = Application::new();
        let mut script = Script(&script);
        while let (Some(what), Some(who)) = (script.next(), script.next()) {
            application.step(what, who)?;
        }
    }

    /// One thread that reads several connections, answers in any order, and sends for any of them.
    #[test]
    fn a_loop_is_found_out_before_it_sends_for_another(script in prop::collection::vec(any::<u16>(), 0..200)) {
        let mut world = World::default();
        let mut open = [None; 3];
        for _ in &open {
            world.connect();
        }
        let mut script = Script(&script);
        while let (Some(what), Some(who)) = (script.next(), script.next()) {
            let who = who % open.len();
            match (what % 3, open[who]) {
                (0, None) => {
                    let claim = world.head(who);
                    open[who] = Some(claim.id);
                    world.read(0, claim);
                }
                (1, Some(_)) => {
                    open[who] = None;
                    world.answer(who);
                }
                (2, Some(truth)) => {
                    if let Ok(found) = world.check(&world.thread(0)) {
                        prop_assert_eq!(found, truth);
                    }
                }
                _ => {}
            }
            let is_loop = world.thread(0).flags & flag::EVENT_LOOP != 0;
            prop_assert!(is_loop || open.iter().flatten().count() < 2);
        }
    }
}

/// The property is not true for want of answers.
#[test]
fn threads_carry() {
    let mut application = Application::new();
    for server in 0..SERVERS as usize {
        for what in [0, 2, 1] {
            application.step(what, server).expect("right");
        }
    }
    // A worker that is started for the only open request, and does its job.
    for (what, who) in [(0, 0), (3, 0), (4, 0), (5, 0)] {
        application.step(what, who).expect("right");
    }
    assert_eq!(application.carried, SERVERS as usize + 1);
}
