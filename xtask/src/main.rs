//! `cargo xtask`: everything around the program itself, from an empty machine to a measured one.

mod accuracy;
mod bench;
mod cgroup;
mod chart;
mod checksum;
mod cluster;
mod debian;
mod demo;
mod deny;
mod document;
mod fuzz;
mod image;
mod interrupt;
mod leftovers;
mod machine;
mod pods;
mod prebuilt;
mod process;
mod say;
mod scratch;
mod setup;
mod soak;
mod test;
mod vm;
mod wait;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Set-up, demo, tests, benchmarks and packaging of baton")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing on this machine (the other tasks call this)
    Setup(setup::Arguments),
    /// Build baton and show it: three unmodified programs, without it and with it
    Demo(demo::Arguments),
    /// Build baton and run all checks and tests
    Test(test::Arguments),
    /// Look for bytes that break the HTTP scanner
    Fuzz(fuzz::Arguments),
    /// Measure baton on against off
    Bench(bench::Arguments),
    /// Judge every outbound request of applications on many runtimes: its own request's headers, or none?
    Accuracy(accuracy::Arguments),
    /// Measure what many pods on a node cost, and how soon they are on
    Pods(pods::Arguments),
    /// Run the end-to-end tests in virtual machines, on each supported kernel and with each of its hooks
    Vm(vm::Arguments),
    /// Mixed load for a long time: memory and maps must stay flat, errors none
    Soak(soak::Arguments),
    /// Refresh the committed eBPF object, or check that it is fresh
    Prebuilt(prebuilt::Arguments),
    /// Write baton's container image, without a container engine
    Image(image::Arguments),
    /// Check the licences and sources of all dependencies, and with --advisories for known holes
    Deny(deny::Arguments),
    /// Check the Helm chart, and render deploy/baton.yaml from it
    Chart(chart::Arguments),
    /// The Kubernetes that the tests run against
    Cluster(cluster::Arguments),
    /// The first process of a virtual machine of `vm`
    #[command(hide = true)]
    VmGuest,
    /// A program that the benchmark starts
    #[command(hide = true)]
    BenchPeer {
        #[command(subcommand)]
        peer: bench::peer::Peer,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let caught = match &task {
        // Its parent stops it.
        Task::BenchPeer { .. } | Task::VmGuest => Ok(()),
        _ => interrupt::catch(),
    };
    let outcome = caught.and_then(|()| run(task));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(signal) = interrupt::received() {
                say::note(&format!("stopped by {signal}; everything is cleaned up"));
                return ExitCode::from(128 + signal as u8);
            }
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Accuracy(arguments) => accuracy::run(&arguments),
        Task::Pods(arguments) => pods::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::VmGuest => vm::run_guest(),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Prebuilt(arguments) => prebuilt::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Deny(arguments) => deny::run(&arguments),
        Task::Chart(arguments) => chart::run(&arguments),
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::BenchPeer { peer } => bench::peer::run(peer),
    }
}
