//! What the daemon needs once all is loaded.

use std::path::Path;

use crate::cli::Run;
use crate::control::confine::{Needs, is_foreign};
use crate::control::namespace;
use crate::datapath::load::Datapath;
use crate::datapath::workload::Desired;

/// What the daemon that is asked for by `arguments` needs for the `desired` workloads, and for those to come.
pub(super) fn of(arguments: &Run, desired: &[Desired], datapath: &mut Datapath) -> Needs {
    let cgroups: Vec<&Path> = desired.iter().map(|workload| workload.cgroup.as_path()).collect();
    // The socket, and the directory of the pins with what is in it, go at the end.
    let removed = [Some(arguments.socket.as_path()), arguments.pin_dir.as_deref()].into_iter().flatten();
    let directories = removed.filter_map(Path::parent).chain(arguments.pin_dir.as_deref());
    Needs {
        // Nearly all pods have one of their own, and are not known yet.
        namespaces: arguments.kubernetes || namespace::are_others(&cgroups),
        perf: datapath.attaches_with_perf(),
        pins: datapath.is_pinned(),
        signals: false,
        foreign: directories.into_iter().any(is_foreign),
    }
}
