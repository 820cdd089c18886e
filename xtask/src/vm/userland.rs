//! What guests of an architecture run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::architecture::Architecture;
use super::programs::{self, Choice};
use super::{cross, given_baton};
use crate::{say, workspace};

/// Programs, all of them for one architecture.
#[derive(Debug)]
pub(super) struct Userland {
    /// The first process, statically linked; none where it is this very program.
    pub(super) init: Option<PathBuf>,
    pub(super) baton: PathBuf,
    pub(super) choice: Choice,
    /// Where the applications are that the tests otherwise compile themselves.
    pub(super) applications: Option<PathBuf>,
}

impl Userland {
    /// Builds what is needed for an architecture.
    pub(super) fn build(architecture: Architecture, short: bool) -> Result<Self> {
        match architecture {
            Architecture::Amd64 => {
                say::step("building baton and the end-to-end tests");
                Self::own(&programs::build()?, workspace::build_baton()?, short)
            }
            Architecture::Arm64 => Self::crossed(cross::build()?),
        }
    }

    /// What was built already: the test programs of this machine in `directory`.
    pub(super) fn find(architecture: Architecture, directory: &Path, short: bool) -> Result<Self> {
        match architecture {
            Architecture::Amd64 => Self::own(&programs::find(directory)?, given_baton(), short),
            Architecture::Arm64 => Self::crossed(cross::find()?),
        }
    }

    /// This machine's own programs.
    pub(super) fn own(tests: &BTreeMap<String, PathBuf>, baton: PathBuf, short: bool) -> Result<Self> {
        Ok(Self { init: None, baton, choice: programs::choose(tests, short)?, applications: None })
    }

    fn crossed(built: cross::Built) -> Result<Self> {
        let choice = programs::choose_crossed(&built.tests)?;
        Ok(Self { init: Some(built.init), baton: built.baton, choice, applications: Some(built.applications) })
    }
}
