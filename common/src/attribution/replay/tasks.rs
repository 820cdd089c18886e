//! Light threads that serve connections, as `asyncio` has them.

use std::vec::Vec;

use proptest::prelude::*;

use super::{Script, World};

const CONNECTIONS: usize = 3;

/// Where a server runs its requests' code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// In a task that the reader makes (uvicorn).
    OfReader,
    /// In a task that the connection's own makes, one after the other (aiohttp).
    OfConnection,
    /// In the connection's own task, which does something after it has answered (a server of one's own).
    Itself,
}

/// A connection: its reader, the task that serves it, and what that has to do.
#[derive(Clone, Debug, Default)]
struct Served {
    reader: u64,
    task: u64,
    /// The request that was read last, until it is answered.
    open: Option<u64>,
    /// Read, and not begun to be served.
    waits: Option<u64>,
    /// What the connection's task works for; answered or not.
    works: Option<u64>,
    /// Tasks and the requests that they are for.
    made: Vec<(u64, u64)>,
}

struct Application {
    world: World,
    server: Server,
    connections: Vec<Served>,
    next: u64,
    carried: usize,
}

impl Application {
    fn new(server: Server) -> Self {
        let mut application = Self { world: World::default(), server, connections: Vec::new(), next: 0, carried: 0 };
        for key in 1..=CONNECTIONS as u64 {
            application.world.connect();
            let [accepts, reader, task] = [(); 3].map(|()| application.name());
            application.world.accept(key, accepts);
            application.world.make(accepts, reader);
            application.world.make(accepts, task);
            application.connections.push(Served { reader, task, ..Served::default() });
        }
        application
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What `task` sends must be the headers of `truth`, or none.
    fn sends(&mut self, task: u64, truth: Option<u64>) -> Result<(), TestCaseError> {
        if let Ok(found) = self.world.current(task) {
            prop_assert_eq!(Some(found), truth, "{:?}: task {} sends", self.server, task);
            self.carried += 1;
        }
        Ok(())
    }

    /// `parent` makes a task for `request` of connection `at`.
    fn make(&mut self, at: usize, parent: u64, request: u64) {
        let task = self.name();
        self.world.make(parent, task);
        self.connections[at].made.push((task, request));
    }

    fn step(&mut self, what: usize, at: usize, which: usize) -> Result<(), TestCaseError> {
        let at = at % CONNECTIONS;
        let Served { reader, task, open, waits, works, .. } = self.connections[at].clone();
        match what % 6 {
            // The client sends its next request when it has the answer.
            0 if open.is_none() && waits.is_none() => {
                let request = self.world.read_in(reader, at as u64 + 1, at);
                self.connections[at].open = Some(request);
                match self.server {
                    Server::OfReader => self.make(at, reader, request),
                    _ => self.connections[at].waits = Some(request),
                }
            }
            // The connection's task goes on to the next request when it is done with the one before.
            1 if works.is_none() && waits.is_some() => {
                self.connections[at].waits = None;
                self.connections[at].works = waits;
                if let (Server::OfConnection, Some(request)) = (self.server, waits) {
                    self.make(at, task, request);
                }
            }
            // The request is answered by whoever runs it.
            2 if open.is_some() && waits.is_none() => {
                if self.server == Server::Itself {
                    self.world.respond(task);
                }
                self.world.answer(at);
                self.connections[at].open = None;
                if self.server == Server::OfConnection {
                    self.connections[at].works = None;
                }
            }
            // The end of what a server of one's own does after its answer.
            3 if self.server == Server::Itself && open != works => self.connections[at].works = None,
            // A task sends, or makes another.
            4 => self.of_task(at, which)?,
            5 if self.server == Server::Itself => match works {
                Some(request) if which.is_multiple_of(2) => self.make(at, task, request),
                _ => self.sends(task, works)?,
            },
            _ => {}
        }
        Ok(())
    }

    fn of_task(&mut self, at: usize, which: usize) -> Result<(), TestCaseError> {
        let made = &self.connections[at].made;
        let Some((task, request)) = made.get(which / 2 % made.len().max(1)).copied() else { return Ok(()) };
        if which.is_multiple_of(2) {
            self.sends(task, Some(request))
        } else {
            self.make(at, task, request);
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn a_task_sends_its_own_requests_headers_or_none(script in prop::collection::vec(any::<u16>(), 0..600)) {
        for server in [Server::OfReader, Server::OfConnection, Server::Itself] {
            let mut application = Application::new(server);
            let mut script = Script(&script);
            while let (Some(what), Some(at), Some(which)) = (script.next(), script.next(), script.next()) {
                application.step(what, at, which)?;
            }
        }
    }
}

/// Frameworks that make a task for each request carry all of them.
#[test]
fn tasks_carry() {
    for server in [Server::OfReader, Server::OfConnection] {
        let mut application = Application::new(server);
        for round in 0..5 {
            for at in 0..CONNECTIONS {
                // Read, begin, make a child, send in the child of this round, answer.
                for (what, which) in [(0, 0), (1, 0), (4, 4 * round + 1), (4, 4 * round + 2), (2, 0)] {
                    application.step(what, at, which).expect("right");
                }
            }
        }
        assert_eq!(application.carried, 5 * CONNECTIONS, "{server:?}");
    }
}
