//! What is known of the processes that flow events name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long it is believed: a process may run another program.
const BELIEVED: Duration = Duration::from_secs(5);

/// Programs whose name begins so are interpreters or virtual machines.
const KNOWN: [&str; 9] = ["python", "node", "java", "php", "ruby", "perl", "bun", "deno", "dotnet"];

/// Characters of a container's id.
const ID: usize = 64;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// An interpreter's name, `native` for any other program, `unknown` if the process is gone.
    pub(crate) runtime: &'static str,
    /// The id of the container that it runs in, if its cgroup is called after one.
    pub(crate) container: Option<String>,
}

/// Processes by id.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    seen: HashMap<u32, (Instant, Process)>,
}

impl Processes {
    /// The process `id`.
    pub(crate) fn of(&mut self, id: u32) -> Process {
        let now = Instant::now();
        let is_fresh = |when: &Instant| now.duration_since(*when) < BELIEVED;
        if let Some((_, process)) = self.seen.get(&id).filter(|(when, _)| is_fresh(when)) {
            return process.clone();
        }
        self.seen.retain(|_, (when, _)| is_fresh(when));
        let process = Process { runtime: runtime(id), container: container(id) };
        self.seen.insert(id, (now, process.clone()));
        process
    }
}

fn runtime(id: u32) -> &'static str {
    std::fs::read_link(format!("/proc/{id}/exe"))
        .ok()
        .and_then(|path| path.file_name().map(|name| classify(&name.to_string_lossy())))
        .unwrap_or("unknown")
}

fn classify(program: &str) -> &'static str {
    KNOWN.iter().find(|known| program.starts_with(**known)).copied().unwrap_or("native")
}

fn container(id: u32) -> Option<String> {
    container_id(&std::fs::read_to_string(format!("/proc/{id}/cgroup")).ok()?)
}

/// The container in the text of `/proc/ID/cgroup` (cgroups(7)): the last part of cgroup v2's path that is called after one,
/// as ID or `RUNTIME-ID.scope`.
fn container_id(cgroups: &str) -> Option<String> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit('-').next().unwrap_or(part);
        (id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_recognised() {
        assert_eq!(classify("python3.11"), "python");
        assert_eq!(classify("php8.2"), "php");
        assert_eq!(classify("nginx"), "native");
        assert_eq!(Processes::default().of(0).runtime, "unknown");
    }

    #[test]
    fn containers_are_found_by_their_cgroups() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/kubepods/burstable/pod0f4d7a4e-1f0b-4f5e-9a53-1f2f3b4c5d6e/{id}"),
            format!("/kubepods.slice/kubepods-pod0f4d.slice/cri-containerd-{id}.scope"),
            format!("/../kubepods/pod0f4d/{id}/worker"),
        ] {
            assert_eq!(container_id(&format!("1:cpu:/x\n0::{path}\n")), Some(id.clone()), "{path}");
        }
        assert_eq!(container_id("0::/system.slice/shop.service\n"), None);
        assert_eq!(container_id(&format!("1:cpu:/{id}\n")), None);
    }
}
