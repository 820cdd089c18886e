//! One cell of the bench: an application under a number of clients.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::judge::judge;
use super::{Application, Count, traffic};
use crate::app::{App, Launch};
use crate::baton::{Exec, HEADERS};
use crate::flows;
use crate::load::Client;
use crate::recorder::{Recorder, Reply};
use crate::scratch::Scratch;
use crate::wait;

/// Longest delay of the backend, in microseconds.
const MAX_DELAY: u64 = 3000;

/// How long calls may take that go out after the answer.
const LATE: Duration = Duration::from_secs(20);

/// One measured cell.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The application's name.
    pub application: String,
    /// Concurrent clients.
    pub clients: usize,
    /// Inbound requests.
    pub requests: usize,
    /// Outbound requests by the name of the handler.
    pub handlers: BTreeMap<&'static str, Count>,
}

impl Cell {
    /// All handlers together.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        for count in self.handlers.values() {
            total.correct += count.correct;
            total.none += count.none;
            total.unbound += count.unbound;
            total.wrong += count.wrong;
            total.missing += count.missing;
            for (reason, times) in &count.lost {
                *total.lost.entry(reason.clone()).or_default() += times;
            }
            total.examples.extend_from_slice(&count.examples);
        }
        total
    }

    /// Whether nothing was wrong or missing, and the goal is reached.
    ///
    /// # Errors
    /// What is not so.
    pub fn check(&self, goal: Option<f64>) -> Result<()> {
        let total = self.total();
        let name = format!("{} with {} clients", self.application, self.clients);
        ensure!(total.wrong == 0 && total.missing == 0, "{name}: {total:#?}");
        let goal = goal.unwrap_or(0.0);
        ensure!(total.share() >= goal, "{name}: {} carried, goal {goal}: {:?}", total.share(), total.lost);
        Ok(())
    }
}

/// How sure baton must be which request caused another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attribution {
    /// Certain: a wrong context is an error.
    #[default]
    Strict,
    /// Likely: wrong ones are counted.
    Balanced,
}

impl Attribution {
    /// Its name on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
        }
    }
}

/// Runs `application` under `baton exec` and sends it requests, in turn from each number of `clients`.
///
/// # Errors
/// If something broke: a request without its answer, a damaged one, a program that ended.
pub fn measure(
    application: &Application,
    clients: &[usize],
    requests: usize,
    attribution: Attribution,
) -> Result<Vec<Cell>> {
    let scratch = Scratch::new()?;
    let file = scratch.join("flows");
    let redis = crate::servers::redis()?.start(&Launch::Plain)?;
    let recorder = Recorder::start(|head| {
        std::thread::sleep(delay(&head.target));
        Reply::ok(head.target.as_bytes())
    })?;
    let program = application.program(&recorder.url(), redis.address().port())?;
    let exec = Exec::default().option("--attribution", attribution.name()).flows(&file);
    let app = program.start(&Launch::under_test(&exec))?;
    if application.goal.is_some() && !crate::app::without_baton() {
        wait_for_support(&app, &recorder).with_context(|| app.output())?;
    }
    let mut runs = Vec::new();
    for clients in clients {
        recorder.take();
        let sent = traffic::send(app.address(), application.handlers, *clients, requests)
            .with_context(|| format!("{} wrote:\n{}", application.name, app.output()))?;
        let calls: usize = sent.iter().map(|sent| sent.handler.calls()).sum();
        let mut recorded = recorder.take();
        wait::until("the calls after the answers", LATE, || {
            recorded.extend(recorder.take());
            let own = recorded.iter().filter(|request| !request.head.target.starts_with("/background")).count();
            Ok((own >= calls).then_some(()))
        })
        // What is missing is counted.
        .unwrap_or(());
        runs.push((*clients, sent, recorded));
    }
    let errors = recorder.errors();
    ensure!(errors.is_empty(), "{}: damaged requests: {errors:?}", application.name);
    app.stop()?;
    let flows = if crate::app::without_baton() { Vec::new() } else { flows::read(&file)? };
    Ok(runs
        .into_iter()
        .map(|(clients, sent, recorded)| {
            let counts = judge(&sent, &recorded, &flows);
            let handlers = counts.into_iter().map(|(handler, count)| (handler.name(), count)).collect();
            Cell { application: application.name.to_owned(), clients, requests, handlers }
        })
        .collect())
}

/// A new process's runtime is known after some tens of milliseconds; until then its calls carry nothing.
fn wait_for_support(app: &App, recorder: &Recorder) -> Result<()> {
    let mut client = Client::new(app.address(), false);
    wait::until("the first call that carries its header", wait::START, || {
        client.get("/relay?id=first", &[(HEADERS[0], "first")])?;
        let carried =
            recorder.take().iter().any(|request| request.head.values(HEADERS[0]).any(|value| value == "first"));
        Ok(carried.then_some(()))
    })
}

/// How long the backend takes: as good as random, and the same each time.
fn delay(target: &str) -> Duration {
    let hash = target
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Duration::from_micros((hash >> 20) % MAX_DELAY)
}
