//! `cargo xtask demo`: three unmodified programs in three languages call each other, without baton and with it.

mod broken;
mod chain;
mod client;
mod flows;
mod programs;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::say::{self, Colour, coloured};
use crate::scratch::Scratch;
use crate::setup::{self, Purpose};
use crate::{interrupt, workspace};
use chain::{Chain, Hop, How};
use client::Client;
use flows::Shown;
use programs::Programs;

/// What the demo propagates, and the values of its first request.
const HEADERS: [(&str, &str); 2] =
    [("x-telepresence-id", "dev1"), ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
const REQUESTS_PER_DEVELOPER: usize = 20;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Lose headers on the way, to practise finding out where: it runs until Ctrl-C
    #[arg(long = "break")]
    breaks: bool,
    /// Ask `baton explain` at once, and end
    #[arg(long, requires = "breaks")]
    explain: bool,
    /// This executable instead of one that is built for it
    #[arg(long, value_name = "FILE")]
    baton: Option<PathBuf>,
}

impl Arguments {
    /// The broken demo, with its explanation.
    pub(crate) fn explained() -> Self {
        Self { breaks: true, explain: true, baton: None }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let baton = match &arguments.baton {
        Some(baton) => baton.clone(),
        None => {
            for problem in setup::ensure(Purpose::Demo)? {
                say::warning(&format!("{problem:#}"));
            }
            say::step("building baton");
            workspace::build_baton()?
        }
    };
    let scratch = Scratch::new("demo")?;
    let programs = Programs::find(&scratch)?;
    let client = Client::find()?;
    if arguments.breaks {
        return broken::run(&baton, &programs, &client, &scratch, arguments.explain);
    }

    introduce(&programs, &client);
    say::result(&title("1. Without baton"));
    let mut plain = Chain::start(programs.services(), How::Plain, &scratch)?;
    show(&plain.hops(&client, "/order/1", &HEADERS)?, &client);
    plain.stop();

    let names: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
    say::result(&title("2. With baton: the same programs, each started by"));
    say::result(&format!("     baton exec --headers {} -- PROGRAM", names.join(",")));
    say::result("     (prices only receives: it runs without baton in both parts)");
    say::result("");
    let mut carried = Chain::start(programs.services(), How::Exec(&baton), &scratch)?;
    let hops = carried.hops(&client, "/order/2", &HEADERS)?;
    show(&hops, &client);

    say::result(&title("3. Two developers at once"));
    let mixed = two_developers(&carried, &client)?;
    carried.stop();

    say::result(&title("4. What baton saw of the request in part 2 (--flows FILE, one JSON object per line)"));
    for line in flows::table(carried.flow_files(), Shown::Of("/order/2"))? {
        say::result(&line);
    }
    let lost = flows::table(carried.flow_files(), Shown::Lost)?;
    if !lost.is_empty() {
        say::result("\n     Lost, in all parts:");
        lost.iter().for_each(|line| say::result(line));
    }
    judge(&hops, mixed)
}

fn introduce(programs: &Programs, client: &Client) {
    say::result(&title("baton's demo: a chain of programs that copy no headers"));
    let hops: Vec<String> =
        programs.services().iter().map(|service| format!("{} ({})", service.name, service.language)).collect();
    say::result(&format!("     {} → {}", client.name(), hops.join(" → ")));
    for substitute in programs.substitutes() {
        say::result(&format!("     {substitute}"));
    }
    say::result("");
    say::result(&format!("     {} sends:", client.name()));
    for (name, value) in HEADERS {
        say::result(&format!("       {name}: {value}"));
    }
}

fn title(text: &str) -> String {
    format!("\n{}", coloured(Colour::Bold, text))
}

/// One line per hop: which of the headers arrived there.
fn show(hops: &[Hop], client: &Client) {
    say::result(&format!("     {:<30} {:<18} {}", "hop", HEADERS[0].0, HEADERS[1].0));
    let mut from = client.name();
    for hop in hops {
        let way = format!("{from:<8} → {} ({})", hop.service, hop.language);
        let [id, trace] = HEADERS.map(|(name, sent)| match hop.header(name) {
            Some(value) if value == sent => (shortened(value), Colour::Green),
            Some(value) => (shortened(value), Colour::Red),
            None => ("missing".to_owned(), Colour::Yellow),
        });
        // Padded before it is coloured: escape sequences have no width.
        let id = coloured(id.1, &format!("{:<18}", id.0));
        say::result(&format!("     {way:<30} {id} {}", coloured(trace.1, &trace.0)));
        from = hop.service.as_str();
    }
}

fn shortened(value: &str) -> String {
    const WIDTH: usize = 20;
    if value.chars().count() <= WIDTH {
        return value.to_owned();
    }
    value.chars().take(WIDTH).chain(['…']).collect()
}

/// Requests of two developers, side by side: how many arrived everywhere with their own id.
fn two_developers(chain: &Chain, client: &Client) -> Result<bool> {
    let total = 2 * REQUESTS_PER_DEVELOPER;
    let outcomes: Vec<Result<(bool, bool)>> = std::thread::scope(|scope| {
        let one = |developer: &'static str| {
            move || -> Vec<Result<(bool, bool)>> {
                (0..REQUESTS_PER_DEVELOPER)
                    .map(|number| {
                        let path = format!("/{developer}/{number}");
                        let hops = chain.hops(client, &path, &[(HEADERS[0].0, developer)])?;
                        let ids = || hops.iter().map(|hop| hop.header(HEADERS[0].0));
                        let own = ids().all(|id| id == Some(developer));
                        let foreign = ids().any(|id| id.is_some_and(|id| id != developer));
                        Ok((own, foreign))
                    })
                    .collect()
            }
        };
        let threads = [scope.spawn(one("dev1")), scope.spawn(one("dev2"))];
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    interrupt::check()?;
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    let own = outcomes.iter().filter(|(own, _)| *own).count();
    let foreign = outcomes.iter().filter(|(_, foreign)| *foreign).count();
    let right = own == total && foreign == 0;
    let colour = if right { Colour::Green } else { Colour::Red };
    say::result(&coloured(
        colour,
        &format!("     {own} of {total} requests kept their own id on every hop; {foreign} got the other developer's"),
    ));
    Ok(right)
}

/// The demo fails when baton did not do what the demo is there to show.
fn judge(hops: &[Hop], mixed: bool) -> Result<()> {
    let all = HEADERS.iter().all(|(name, value)| hops.iter().all(|hop| hop.header(name) == Some(*value)));
    if !(all && mixed) {
        bail!(
            "not every header arrived: the flow events above give the reason, `baton doctor` tells what this machine lacks"
        );
    }
    say::result(&coloured(
        Colour::Green,
        "\nEvery hop received the headers of the request that caused it. All processes have ended.",
    ));
    Ok(())
}
