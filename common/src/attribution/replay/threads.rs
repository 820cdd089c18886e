//! Threads: servers that give a request a thread, pools that grow while requests are handled and then work for all
//! and for timers, programs that are started, and loops.

use std::collections::VecDeque;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Script, World, flag};
use crate::flow::Reason;

/// Few, so that there is often one request alone.
const SERVERS: u32 = 2;
const WORKERS: usize = 3;
/// The thread of the application's own timer.
const TIMER: u32 = SERVERS + WORKERS as u32;

/// A thread of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Worker {
    #[default]
    Gone,
    Idle,
    /// It works for a request, or for none.
    Works(Option<u64>),
}

/// What really happens in the application.
struct Application {
    world: World,
    /// The open request of each serving thread; each has a connection of its own.
    serves: [Option<u64>; SERVERS as usize],
    /// What waits for a worker: the request that it is for, or none for the timer's.
    jobs: VecDeque<Option<u64>>,
    workers: [Worker; WORKERS],
    /// Connections that were opened, and wait for whoever takes them.
    idle: Vec<usize>,
    /// First threads of programs, and the requests that these are for.
    programs: Vec<(u32, Option<u64>)>,
    /// Processes that run their parent's program, and the same of them.
    forks: Vec<u32>,
    next: u32,
    carried: usize,
}

impl Application {
    fn new(balanced: bool) -> Self {
        let mut world = World { balanced, ..World::default() };
        for _ in 0..SERVERS {
            world.connect();
        }
        Self {
            world,
            serves: [None; SERVERS as usize],
            jobs: VecDeque::new(),
            workers: [Worker::Gone; WORKERS],
            idle: Vec::new(),
            programs: Vec::new(),
            forks: Vec::new(),
            next: TIMER + 1,
            carried: 0,
        }
    }

    const fn worker(index: usize) -> u32 {
        SERVERS + index as u32
    }

    /// What `thread` sends must be its own request's, or nobody's.
    fn writes(&mut self, thread: u32, truth: Option<u64>) -> Result<(), TestCaseError> {
        let found = self.world.check(&self.world.thread(thread));
        self.sent(thread, found, truth)
    }

    fn sent(&mut self, thread: u32, found: Result<u64, Reason>, truth: Option<u64>) -> Result<(), TestCaseError> {
        if let Ok(found) = found {
            prop_assert_eq!(Some(found), truth, "thread {} sends", thread);
            self.carried += 1;
        }
        Ok(())
    }

    /// `thread` works for `truth`: it sends, hands a job to the pool, opens a connection, takes one, or starts something.
    fn works(&mut self, thread: u32, truth: Option<u64>, what: usize) -> Result<(), TestCaseError> {
        match what % 6 {
            0 => self.writes(thread, truth)?,
            1 => {
                // The pool starts another thread for the job as long as it is small.
                self.jobs.push_back(truth);
                if let Some(index) = self.workers.iter().position(|worker| *worker == Worker::Gone) {
                    self.world.spawn(thread, Self::worker(index));
                    self.workers[index] = Worker::Idle;
                }
            }
            2 => self.idle.push(self.world.open(thread)),
            3 => {
                if let Some(connection) = self.idle.pop() {
                    let found = self.world.write_on(thread, connection);
                    self.sent(thread, found, truth)?;
                }
            }
            4 => {
                self.start(thread, truth);
            }
            5 => {
                // A process that goes on in its parent's program, and starts others.
                let fork = self.fork(thread);
                self.forks.push(fork);
                self.start(fork, truth);
            }
            _ => {}
        }
        Ok(())
    }

    /// `parent` starts a program for `truth`.
    fn start(&mut self, parent: u32, truth: Option<u64>) -> u32 {
        let program = self.fork(parent);
        self.world.exec(program);
        self.programs.push((program, truth));
        program
    }

    /// `parent` starts a process.
    fn fork(&mut self, parent: u32) -> u32 {
        let process = self.next;
        self.next += 1;
        self.world.spawn(parent, process);
        process
    }

    fn step(&mut self, what: usize, who: usize) -> Result<(), TestCaseError> {
        let server = who % SERVERS as usize;
        let worker = who % WORKERS;
        match (what % 9, self.serves[server]) {
            (0, None) => {
                let claim = self.world.head(server);
                self.serves[server] = Some(claim.id);
                self.world.read(server as u32, claim);
            }
            // Its jobs may wait in the queue still.
            (1, Some(_)) => {
                self.serves[server] = None;
                self.world.answer(server);
            }
            // Also after the answer, and before the first request.
            (2, open) => self.works(server as u32, open, who / SERVERS as usize)?,
            (3, _) => self.works(TIMER, None, who)?,
            (4, _) if self.workers[worker] == Worker::Idle => {
                if let Some(job) = self.jobs.pop_front() {
                    self.workers[worker] = Worker::Works(job);
                }
            }
            (5, _) => {
                if let Worker::Works(truth) = self.workers[worker] {
                    self.works(Self::worker(worker), truth, who / WORKERS)?;
                }
            }
            // It is done, or ends for want of work.
            (6, _) => {
                self.workers[worker] = match self.workers[worker] {
                    Worker::Works(_) => Worker::Idle,
                    _ => Worker::Gone,
                }
            }
            // A program sends, or forks and starts another (a shell's parentheses and pipes).
            (7, _) if !self.programs.is_empty() => {
                let (program, truth) = self.programs[who % self.programs.len()];
                self.works(program, truth, [0, 0, 5][who / 8 % 3])?;
            }
            // A forked worker of a pool gets the work of anybody: here, of nobody.
            (8, _) if !self.forks.is_empty() => {
                self.writes(self.forks[who % self.forks.len()], None)?;
            }
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    // What is wrong needs some steps in a row.
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn a_thread_sends_its_own_requests_headers_or_none(script in prop::collection::vec(any::<u16>(), 0..400)) {
        let mut application = Application::new(false);
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

/// Steps of [`Application::step`], and by whom.
const READ: usize = 0;
const ANSWER: usize = 1;
const SERVE: usize = 2;
const TICK: usize = 3;
const TAKE: usize = 4;
const WORK: usize = 5;
const DONE: usize = 6;
const RUN: usize = 7;

/// What [`Application::works`] does in a server's thread, the first one; in the first worker; in the timer.
const fn server(what: usize) -> usize {
    what * SERVERS as usize
}
const fn worker(what: usize) -> usize {
    what * WORKERS
}
const SEND: usize = 0;
const SUBMIT: usize = 1;
const OPEN: usize = 2;
const SEND_ON: usize = 3;
const EXEC: usize = 4;

/// How many calls carry something; an error where one is another's.
fn carried(balanced: bool, steps: &[(usize, usize)]) -> Result<usize, TestCaseError> {
    let mut application = Application::new(balanced);
    for (what, who) in steps {
        application.step(*what, *who)?;
    }
    Ok(application.carried)
}

/// The property is not true for want of answers.
#[test]
fn threads_and_programs_carry() {
    let mut steps = Vec::new();
    for server in 0..SERVERS as usize {
        steps.extend([(READ, server), (SERVE, server), (ANSWER, server)]);
    }
    assert_eq!(carried(false, &steps).expect("right"), SERVERS as usize);
    let program = [(READ, 0), (SERVE, server(EXEC)), (RUN, 0), (RUN, 0)];
    assert_eq!(carried(false, &program).expect("right"), 2);
}

/// A worker that is started for the only open request and does its job, and a connection that it opens.
#[test]
fn what_is_started_or_opened_carries_where_likely_is_enough() {
    let job = [(READ, 0), (SERVE, server(SUBMIT)), (TAKE, 0), (WORK, worker(SEND))];
    let connection = [(READ, 0), (SERVE, server(OPEN)), (SERVE, server(SEND_ON))];
    assert_eq!(carried(true, &job).expect("right"), 1);
    assert_eq!(carried(false, &job).expect("right"), 0);
    // The server's thread needs no connection that remembers it.
    assert_eq!(carried(true, &connection).expect("right"), 1);
    assert_eq!(carried(false, &connection).expect("right"), 1);
}

/// What is likely is wrong in these cases, and only what is certain is right.
#[test]
fn where_likely_is_wrong() {
    let timer_in_pool =
        [(READ, 0), (SERVE, server(SUBMIT)), (TAKE, 0), (DONE, 0), (TICK, SUBMIT), (TAKE, 0), (WORK, worker(SEND))];
    // Of the two jobs the one in front is an answered request's, when the second request makes the pool grow.
    let left_in_queue = [
        (READ, 0),
        (SERVE, server(SUBMIT)),
        (ANSWER, 0),
        (READ, 0),
        (SERVE, server(SUBMIT)),
        (TAKE, 1),
        (WORK, worker(SEND) + 1),
    ];
    let timer_takes_connection = [(READ, 0), (SERVE, server(OPEN)), (TICK, SEND_ON)];
    for steps in [&timer_in_pool[..], &left_in_queue, &timer_takes_connection] {
        assert!(carried(true, steps).is_err(), "{steps:?}");
        assert_eq!(carried(false, steps).expect("right"), 0, "{steps:?}");
    }
}
