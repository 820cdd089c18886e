//! Brings a machine to where baton builds, runs its demo and passes its tests: finds out what is missing, says what it
//! installs, and is quick and silent when everything is there.

mod apt;
mod node;
mod programs;
mod python;
mod rust;

use anyhow::{Result, bail};
use clap::ValueEnum;

use rust::Component;
pub(crate) use rust::llvm_tool;

use crate::{interrupt, prebuilt, say, vm};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the machine is to be ready for
    #[arg(long = "for", value_enum, default_value = "test")]
    purpose: Purpose,
}

impl Arguments {
    pub(crate) fn for_purpose(purpose: Purpose) -> Self {
        Self { purpose }
    }
}

/// What a machine can be made ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Building the eBPF object from source
    Build,
    /// `cargo xtask demo`
    Demo,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask test --no-cluster`
    TestWithoutCluster,
    /// `cargo xtask vm`
    Vm,
    /// `cargo xtask bench`
    Bench,
    /// `cargo xtask bench compare`
    Compare,
    /// `cargo xtask bench traffic`
    Traffic,
    /// `cargo xtask bench profile`
    Profile,
    /// `cargo xtask chart`
    Chart,
}

impl Purpose {
    /// The demo is content with the committed object, so that it starts soon on a fresh machine.
    fn builds_object(self) -> bool {
        match self {
            Self::Chart => false,
            Self::Demo => !prebuilt::is_here(),
            Self::Build
            | Self::Test
            | Self::TestWithoutCluster
            | Self::Vm
            | Self::Bench
            | Self::Compare
            | Self::Traffic
            | Self::Profile => true,
        }
    }

    fn components(self) -> &'static [Component] {
        match self {
            Self::Test | Self::TestWithoutCluster => &[Component::Source, Component::Clippy, Component::Rustfmt],
            _ if self.builds_object() => &[Component::Source],
            _ => &[],
        }
    }

    /// Whether packages of PyPI are used.
    fn uses_python(self) -> bool {
        matches!(self, Self::Test | Self::TestWithoutCluster | Self::Vm | Self::Bench | Self::Compare | Self::Chart)
    }

    /// Whether packages of npm and crates of a program under test are used.
    fn uses_packages(self) -> bool {
        matches!(self, Self::Test | Self::TestWithoutCluster | Self::Vm | Self::Bench | Self::Compare)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let problems = ensure(arguments.purpose)?;
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        say::failure(problem);
    }
    bail!("the machine is not ready; install what is named above and run this again");
}

/// Installs what is missing for `purpose` and returns what could not be installed, each with its remedy.
/// Fails only when the user interrupts.
pub(crate) fn ensure(purpose: Purpose) -> Result<Vec<anyhow::Error>> {
    let mut problems = Vec::new();
    let mut packages = programs::missing_packages(purpose);
    let object = purpose.builds_object();
    let mut llvm = None;
    if object && !rust::tools_present() {
        match rust::llvm_major().and_then(apt::llvm_package) {
            Ok(found) => {
                packages.push(found.package.clone());
                llvm = Some(found);
            }
            Err(error) => problems.push(error),
        }
    }
    if !packages.is_empty() {
        problems.extend(apt::install(&packages).err());
    }
    problems.extend(rust::ensure_components(purpose.components()).err());
    if purpose == Purpose::Vm {
        problems.extend(rust::ensure_target(vm::TARGET).err());
    }
    if let Some(llvm) = llvm {
        problems.extend(rust::ensure_linker(&llvm).err());
    }
    if purpose.uses_python() {
        let environment = if purpose == Purpose::Compare { python::OBSERVED } else { python::USUAL };
        problems.extend(environment.ensure().err());
    }
    if purpose.uses_packages() {
        let packages = if purpose == Purpose::Compare { node::OBSERVED } else { node::USUAL };
        problems.extend(packages.ensure().err());
        problems.extend(rust::ensure_app().err());
    }
    interrupt::check()?;
    Ok(problems)
}
