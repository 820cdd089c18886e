//! Exchanges through `apps/c/faults.c`: bodies of every size in all four directions, each byte of them and of the heads
//! between them judged. What fails is counted, and the load goes on.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::app::Program;
use crate::baton::HEADERS;
use crate::load::Client;
use crate::programs::compile_c;
use crate::random::Random;
use crate::recorder::{Recorded, Recorder, Reply, pattern};
use crate::scratch::{Scratch, serial};
use crate::wire::{Script, Wire};

/// How many examples of what failed are kept.
const EXAMPLES: usize = 6;

/// Sizes of bodies, and how an exchange uses its sockets.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Modes of `faults.c`, one of which each exchange uses.
    pub modes: &'static [&'static str],
    /// Largest body.
    pub largest: usize,
    /// Whether the clients keep their connections, and the application keeps every second one.
    pub keep: bool,
    /// A client's longest pause between two exchanges, in milliseconds.
    pub pause: usize,
}

impl Shape {
    /// Plain exchanges over kept connections, without a pause.
    pub const PLAIN: Self = Self { modes: &["plain"], largest: 200_000, keep: true, pause: 0 };
}

/// Modes after which the application cannot use its connection again.
const LAST: [&str; 2] = ["half", "linger"];

/// What became of all exchanges.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Exchanges that were begun.
    pub exchanges: usize,
    /// Those that got no answer, or another one than they should.
    pub failed: usize,
    /// Requests that arrived at the backend with other bytes than were sent, twice, or not at all.
    pub changed: usize,
    /// Requests that carried a value of another one.
    pub wrong: usize,
    /// Requests that carried all their own headers.
    pub carried: usize,
    /// Requests that should have carried them and did not.
    pub lost: usize,
    /// Connections that broke between two requests.
    pub reconnects: usize,
    /// Blocking calls of the application that said EAGAIN: a known effect of sockmaps on calls that signals interrupt.
    pub surprised: u64,
    /// What failed first.
    pub examples: Vec<String>,
}

impl Outcome {
    /// Fails unless every request was answered, no byte was changed, and no value was another's.
    pub fn flawless(&self) -> Result<()> {
        let Self { exchanges, failed, changed, wrong, reconnects, .. } = self;
        ensure!(*exchanges > 0, "no exchange");
        ensure!((*failed, *changed, *wrong, *reconnects) == (0, 0, 0, 0), "{self}");
        Ok(())
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchanges, failed, changed, wrong, carried, lost, reconnects, surprised, examples } = self;
        write!(
            f,
            "{exchanges} exchanges: {failed} failed, {changed} changed, {wrong} wrong, {reconnects} connections broken; \
             {carried} carried, {lost} lost; {surprised} times EAGAIN"
        )?;
        examples.iter().try_for_each(|example| write!(f, "\n    {example}"))
    }
}

/// The application's backend, and the judge of what arrives there.
#[derive(Debug)]
pub struct Exchanges {
    recorder: Recorder,
    cut: Wire,
    run: u32,
    next: AtomicU64,
    open: Mutex<HashMap<String, usize>>,
    outcome: Mutex<Outcome>,
}

impl Exchanges {
    /// Starts a backend.
    pub fn new() -> Result<Self> {
        Ok(Self {
            recorder: Recorder::start(|head| Reply::ok(pattern(last_number(&head.target))))?,
            cut: Wire::start(Script::silent())?,
            run: serial(),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            outcome: Mutex::default(),
        })
    }

    /// Where the backend listens.
    pub fn address(&self) -> SocketAddr {
        self.recorder.address()
    }

    /// The application that talks to it, with more variables of its environment.
    pub fn program(&self, variables: &[(&str, &str)]) -> Result<Program> {
        let files = Scratch::new()?;
        let mut program = Program::new(Command::new(compile_c("faults", &files)?))?;
        program.files = files;
        program.command.env("BACKEND", self.recorder.url()).env("CUT", self.cut.address().port().to_string());
        program.command.envs(variables.iter().copied());
        Ok(program)
    }

    /// One exchange over a client's connection; what goes wrong is counted.
    pub fn exchange(&self, client: &mut Client, shape: &Shape, random: &mut Random) {
        let (sent, up, down) = (size(shape, random), size(shape, random), size(shape, random));
        let mode = random.one_of(shape.modes).copied().unwrap_or("plain");
        let carries = if random.below(4) == 0 { 'n' } else { 'c' };
        let keep = u8::from(shape.keep && random.below(2) == 0 && !LAST.contains(&mode));
        let id = format!("x{}-{}-{keep}-{up}-{carries}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.open).insert(id.clone(), 0);
        let mut message =
            format!("POST /do/{mode}?id={id}&up={up}&down={down}&keep={keep} HTTP/1.1\r\nHost: faults\r\n");
        for line in lines(&id).iter().flatten() {
            message.push_str(line);
            message.push_str("\r\n");
        }
        message.push_str(&format!("Content-Length: {sent}\r\n\r\n"));
        let message = [message.into_bytes(), pattern(sent)].concat();
        let before = client.reconnects();
        let answer = client.send(&message);
        let mut outcome = lock(&self.outcome);
        outcome.exchanges += 1;
        outcome.reconnects += client.reconnects() - before;
        match answer {
            Ok((head, body)) => {
                let surprised = head.values("x-surprised").next().and_then(|count| count.parse().ok());
                outcome.surprised = outcome.surprised.max(surprised.unwrap_or_default());
                if head.status != 200 || body != pattern(down) {
                    outcome.failed += 1;
                    let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                    outcome.example(format!("{mode} {id}: status {}, body {body:?}", head.status));
                }
            }
            Err(error) => {
                outcome.failed += 1;
                outcome.example(format!("{mode} {id}: {error:#}"));
            }
        }
        drop(outcome);
        self.judge();
        if lock(&self.open).remove(&id) != Some(1) {
            let mut outcome = lock(&self.outcome);
            outcome.changed += 1;
            outcome.example(format!("{mode} {id}: did not arrive once"));
        }
    }

    /// So many clients at once, until `done` says so. `address` is the application's.
    pub fn load(
        &self,
        address: SocketAddr,
        clients: usize,
        shape: &Shape,
        random: &mut Random,
        done: impl Fn() -> bool + Sync,
    ) {
        let done = &done;
        std::thread::scope(|scope| {
            for _ in 0..clients {
                let mut random = Random::new(random.number());
                scope.spawn(move || {
                    let mut client = Client::new(address, shape.keep);
                    while !done() {
                        self.exchange(&mut client, shape, &mut random);
                        // Without it, nothing but the load would run.
                        std::thread::sleep(Duration::from_millis(random.below(shape.pause) as u64));
                    }
                });
            }
        });
    }

    /// How many exchanges were begun so far.
    pub fn count(&self) -> usize {
        self.next.load(Ordering::Relaxed) as usize
    }

    /// What became of all so far; the application's connections must be closed if it used `race`.
    pub fn outcome(&self) -> Result<Outcome> {
        self.judge();
        let mut outcome = lock(&self.outcome).clone();
        for error in self.recorder.errors() {
            outcome.changed += 1;
            outcome.example(error);
        }
        for stream in self.cut.take(0)? {
            if let Err(error) = judge_beginning(&stream.bytes) {
                outcome.changed += 1;
                outcome.example(format!("{error:#}"));
            }
        }
        Ok(outcome)
    }

    /// Takes what arrived that is none of the exchanges, such as `hold` sends; no exchange may be open.
    pub fn forget(&self) -> Result<()> {
        let strangers = self.recorder.take();
        ensure!(strangers.iter().all(|request| request.head.target.starts_with("/out/none/")), "{strangers:?}");
        Ok(())
    }

    /// Judges all that has arrived at the backend.
    fn judge(&self) {
        // What is taken here may be another client's, whose thread then finds it judged.
        let mut open = lock(&self.open);
        for request in self.recorder.take() {
            let found = judge(&request);
            let id = request.head.target.split('/').nth(2).unwrap_or_default();
            let mut outcome = lock(&self.outcome);
            match (found, open.get_mut(id)) {
                (Ok(headers), Some(count)) => {
                    *count += 1;
                    outcome.carried += usize::from(headers == Some(true));
                    outcome.lost += usize::from(headers == Some(false));
                }
                (Ok(_), None) => {
                    outcome.changed += 1;
                    outcome.example(format!("{} came twice", request.head.target));
                }
                (Err(error), count) => {
                    if let Some(count) = count {
                        *count += 1;
                    }
                    let foreign = request.head.raw.windows(9).filter(|window| *window == b"value-of-").count() > 0;
                    if foreign {
                        outcome.wrong += 1
                    } else {
                        outcome.changed += 1
                    }
                    outcome.example(format!("{error:#}"));
                }
            }
        }
    }
}

/// Mostly small; one in ten up to the largest.
fn size(shape: &Shape, random: &mut Random) -> usize {
    let limit = match random.below(10) {
        0..=4 => 2000,
        5..=8 => 40_000,
        _ => shape.largest,
    };
    random.below(limit.min(shape.largest) + 1)
}

/// The lines that an inbound request has, in the order of [`HEADERS`]; `None` for those that have none.
fn lines(id: &str) -> Option<[String; 2]> {
    let number: u64 = id.split('-').nth(1)?.parse().ok()?;
    let values = [format!("value-of-{id}"), format!("00-{:032x}-{:016x}-01", number + 1, number + 1)];
    let [first, second] = HEADERS.map(str::to_owned);
    let [one, two] = values;
    id.ends_with('c').then(|| [format!("{first}: {one}"), format!("{second}: {two}")])
}

fn last_number(target: &str) -> usize {
    target.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or_default()
}

/// The forms that a request of this target may have: as it was sent, and with its lines at the end of the head.
fn forms(target: &str) -> Result<(Vec<u8>, Option<Vec<u8>>, usize)> {
    let id = target.split('/').nth(2).unwrap_or_default();
    let mut parts = id.split('-').skip(2);
    let (Some(keep), Some(Ok(up))) = (parts.next(), parts.next().map(str::parse::<usize>)) else {
        bail!("the target {target:?} is not one of ours");
    };
    let connection = if keep == "1" { "keep-alive" } else { "close" };
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: backend\r\nConnection: {connection}\r\nContent-Length: {up}\r\n");
    let with = lines(id).map(|lines| format!("{head}{}\r\n{}\r\n\r\n", lines[0], lines[1]).into_bytes());
    Ok((format!("{head}\r\n").into_bytes(), with, up))
}

/// Whether a request carried its headers; `None` if there were none to carry.
fn judge(request: &Recorded) -> Result<Option<bool>> {
    let (plain, with, up) = forms(&request.head.target)?;
    let raw = &request.head.raw;
    let carried = with.as_ref() == Some(raw);
    ensure!(carried || *raw == plain, "{:?} arrived", String::from_utf8_lossy(raw));
    ensure!(request.body == pattern(up), "{}: another body, of {} bytes", request.head.target, request.body.len());
    Ok(with.map(|_| carried))
}

/// Judges what arrived on a connection that was closed in the middle.
fn judge_beginning(bytes: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    let Some(target) = text.split_once(" HTTP/1.1\r\n").and_then(|(line, _)| line.strip_prefix("POST ")) else {
        let start = "POST /cut/x";
        let fits = if bytes.len() < start.len() { start.starts_with(&*text) } else { text.starts_with(start) };
        // The line's end may be cut in two.
        let line = text.strip_suffix(" HTTP/1.1\r").unwrap_or(&text);
        ensure!(fits && !line.contains('\r'), "a connection that was closed began with {text:?}");
        return Ok(());
    };
    let (plain, with, up) = forms(target)?;
    let body = pattern(up);
    let fits = |head: &[u8]| {
        let length = bytes.len().min(head.len());
        bytes[..length] == head[..length] && body.starts_with(&bytes[length..])
    };
    ensure!(fits(&plain) || with.is_some_and(|with| fits(&with)), "a connection that was closed brought {text:?}");
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_lines_at_the_end_of_the_head_are_right() -> Result<()> {
        let (plain, with, _) = forms("/out/x1-7-1-3-c/9")?;
        let with = with.unwrap_or_default();
        let arrived = |head: &[u8], body: &[u8]| -> Result<Option<bool>> {
            let head = crate::http::Head::request(head.to_vec())?;
            judge(&Recorded { connection: 0, head, body: body.to_vec(), at: std::time::Instant::now() })
        };
        assert_eq!(arrived(&plain, &pattern(3))?, Some(false));
        assert_eq!(arrived(&with, &pattern(3))?, Some(true));
        assert!(arrived(&with, &pattern(2)).is_err());
        let other = String::from_utf8(with.clone())?.replace("value-of-x1-7", "value-of-x1-8");
        assert!(arrived(other.as_bytes(), &pattern(3)).is_err());
        let (without, none, _) = forms("/out/x1-7-1-3-n/9")?;
        assert_eq!((arrived(&without, &pattern(3))?, none), (None, None));
        Ok(())
    }

    #[test]
    fn a_beginning_may_end_anywhere() -> Result<()> {
        let (plain, with, up) = forms("/cut/x1-7-1-30-c/9")?;
        for head in [plain, with.unwrap_or_default()] {
            let whole = [head, pattern(up)].concat();
            for end in 0..=whole.len() {
                judge_beginning(&whole[..end])?;
            }
            assert!(judge_beginning(&[&whole[..], b"x"].concat()).is_err());
            assert!(judge_beginning(&whole[1..]).is_err());
        }
        Ok(())
    }
}
