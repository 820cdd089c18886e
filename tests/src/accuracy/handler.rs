//! What an application does with a request before and while it calls its backend.

/// A kind of request handler; the applications of `tests/apps` know them as `via=NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handler {
    /// Calls at once.
    Now,
    /// Calls after a timer.
    Sleep,
    /// Two calls, one after the other.
    Twice,
    /// Five calls in parallel.
    Fan,
    /// Calls after it has read a file.
    File,
    /// Calls after it has resolved a name.
    Resolve,
    /// Calls after a round trip to Redis, over a connection that all requests share.
    Database,
    /// Calls in a task that it starts and waits for.
    Task,
    /// Calls in a thread of the runtime's pool, and waits for it.
    Thread,
    /// Answers, and calls afterwards.
    After,
}

impl Handler {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Sleep => "sleep",
            Self::Twice => "twice",
            Self::Fan => "fan",
            Self::File => "file",
            Self::Resolve => "resolve",
            Self::Database => "database",
            Self::Task => "task",
            Self::Thread => "thread",
            Self::After => "after",
        }
    }

    /// Its name in requests.
    pub(super) const fn via(self) -> &'static str {
        match self {
            Self::Twice => "now",
            _ => self.name(),
        }
    }

    /// How many outbound requests it sends.
    pub(super) const fn calls(self) -> usize {
        match self {
            Self::Twice => 2,
            Self::Fan => 5,
            _ => 1,
        }
    }

    /// The target of its outbound request `k`, from 1 on, for the inbound request `id`.
    pub(super) fn target(self, id: &str, k: usize) -> String {
        let place = if self == Self::After { "after" } else { "out" };
        format!("/{place}/{id}/{k}")
    }
}
