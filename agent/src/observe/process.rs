//! `baton doctor --pid`: what baton makes of one process.

use super::flow::harmless;
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
        format!("program           {}", harmless(&found.executable.display().to_string())),
        format!("runtime           {}", found.runtime),
        format!("told apart by     {}", found.told_apart_by),
    ];
    if let Some(reason) = &found.reason {
        lines.push(format!("not supported     {}", harmless(reason)));
    }
    if found.probes.is_empty() {
        lines.push("probes            none".to_owned());
    }
    for place in &found.probes {
        lines.push(format!(
            "probe             {:<20} {} +{:#x}",
            place.program,
            harmless(&place.file.display().to_string()),
            place.offset
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_called_does_nothing_to_a_terminal() {
        let mut found = inspect(std::process::id()).expect("this process");
        found.executable = "/tmp/\u{1b}]0;owned\u{7}\nrun".into();
        found.reason = Some("\u{1b}[2J".to_owned());
        let shown = text(&found);
        assert!(shown.lines().count() == 6 && !shown.contains('\u{1b}'), "{shown:?}");
    }
}
