//! Puts the parts together: the only place that knows all of them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::{control, logging, observe};

/// Runs what the command line asks for; returns the exit status.
///
/// # Errors
/// What ended it, often a [`Failure`](crate::failure::Failure) with a status of
/// its own.
pub(crate) fn run(cli: Cli) -> anyhow::Result<u8> {
    let is_terminal_taken = matches!(&cli.command, Command::Watch(watch) if watch.top);
    logging::start(cli.log, is_terminal_taken)?;
    // One thread: the guard is a fork of this process. Those that ask for addresses do not stay for the next one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .context("failed to start the event loop")?;
    match cli.command {
        Command::Exec(exec) => runtime.block_on(control::exec::run(exec)),
        Command::Run(run) => runtime.block_on(control::run::run(*run)).map(|()| 0),
        Command::Record(record) => runtime.block_on(observe::record::run(record)).map(|()| 0),
        Command::Explain(explain) => runtime.block_on(observe::explain::run(explain)),
        Command::Discover(discover) if discover.cgroups.is_empty() => {
            runtime.block_on(observe::discover::run(discover))
        }
        Command::Discover(discover) => {
            let (cgroups, headers) = (discover.cgroups.clone(), discover.headers.clone());
            let work = async move |socket: &Path| observe::discover::run_beside(discover, socket).await;
            runtime.block_on(control::run::own::run(&cgroups, &headers, work))
        }
        Command::Watch(watch) if watch.top => runtime.block_on(observe::top::run(watch)).map(|()| 0),
        Command::Watch(watch) => observe::watch::run(&watch).map(|()| 0),
        Command::Doctor(doctor) => observe::doctor::run(&doctor),
    }
}
