//! What baton gives up once all is loaded.

use super::{Check, Status};
use crate::control::confine::{Needs, outlook};
use crate::datapath::load::Datapath;

/// What stays, and what that is for.
pub(super) fn check(datapath: &mut Datapath) -> Check {
    let perf = datapath.attaches_with_perf();
    let note = |detail: String, remedy: &str| Check {
        name: "confinement",
        status: Status::Note,
        detail,
        remedy: Some(remedy.to_owned()),
    };
    match outlook(Needs { perf, ..Needs::default() }) {
        None => note("this process's capabilities cannot be read".to_owned(), "all that it has stays"),
        Some((kept, is_filtered)) => {
            let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
            let detail = format!("once all is loaded, `baton run` keeps {} and gives up the rest", names.join(", "));
            if is_filtered {
                let detail = format!("{detail}; a seccomp filter refuses system calls that it does not need");
                Check { name: "confinement", status: Status::Ok, detail, remedy: None }
            } else {
                note(detail, "use a kernel with CONFIG_SECCOMP_FILTER=y, so that system calls can be given up, too")
            }
        }
    }
}
