//! Which language runtime a process uses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a process's runtime is believed: it may run another program.
const BELIEVED: Duration = Duration::from_secs(5);

/// Programs whose name begins so are interpreters or virtual machines.
const KNOWN: [&str; 9] = ["python", "node", "java", "php", "ruby", "perl", "bun", "deno", "dotnet"];

/// Runtimes by process id.
#[derive(Debug, Default)]
pub(crate) struct Runtimes {
    seen: HashMap<u32, (Instant, &'static str)>,
}

impl Runtimes {
    /// The runtime of the process `id`: an interpreter's name, `native` for any
    /// other program, `unknown` if the process is gone.
    pub(crate) fn of(&mut self, id: u32) -> &'static str {
        let now = Instant::now();
        if let Some((when, name)) = self.seen.get(&id)
            && now.duration_since(*when) < BELIEVED
        {
            return name;
        }
        self.seen.retain(|_, (when, _)| now.duration_since(*when) < BELIEVED);
        let name = std::fs::read_link(format!("/proc/{id}/exe"))
            .ok()
            .and_then(|path| path.file_name().map(|name| classify(&name.to_string_lossy())))
            .unwrap_or("unknown");
        self.seen.insert(id, (now, name));
        name
    }
}

fn classify(program: &str) -> &'static str {
    KNOWN.iter().find(|known| program.starts_with(**known)).copied().unwrap_or("native")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_recognised() {
        assert_eq!(classify("python3.11"), "python");
        assert_eq!(classify("php8.2"), "php");
        assert_eq!(classify("nginx"), "native");
        assert_eq!(Runtimes::default().of(0), "unknown");
    }
}
