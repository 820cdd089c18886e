//! `baton doctor --pid`: what baton makes of one process.

use crate::failure::Failure;
use crate::runtime::{Inspection, inspect};

/// Says what process `id` runs, and what is attached to it for that.
///
/// # Errors
/// If it is not there, or may not be looked at.
pub(super) fn run(id: u32, json: bool) -> anyhow::Result<()> {
    let found = inspect(id).map_err(|error| {
        let remedy = "give the number of a running process, and run this as root";
        Failure::Usage(format!("process {id} cannot be looked at: {error}; {remedy}"))
    })?;
    super::print(&if json { serde_json::to_string(&found)? } else { text(&found) });
    Ok(())
}

fn text(found: &Inspection) -> String {
    let mut lines = vec![
        format!("process           {}", found.process),
        format!("program           {}", found.executable.display()),
        format!("runtime           {}", found.runtime),
        format!("told apart by     {}", found.told_apart_by),
    ];
    if let Some(reason) = &found.reason {
        lines.push(format!("not supported     {reason}"));
    }
    if found.probes.is_empty() {
        lines.push("probes            none".to_owned());
    }
    for place in &found.probes {
        lines.push(format!("probe             {:<20} {} +{:#x}", place.program, place.file.display(), place.offset));
    }
    lines.join("\n")
}
