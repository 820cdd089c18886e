//! Network namespaces: the same addresses and ports twice on one machine.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use crate::programs::{command, succeed};

/// Runs `work` on a thread in a new network namespace whose loopback also has `addresses`.
/// Threads and processes that it starts are in it, too; it goes away with the last of them.
pub fn within<T: Send>(addresses: &[&str], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).context("failed to make a network namespace")?;
        ip(&["link", "set", "lo", "up"])?;
        for address in addresses {
            ip(&["address", "add", address, "dev", "lo"])?;
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join())
        .map_err(|_| anyhow::anyhow!("the thread in the namespace panicked"))?
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut ip = command("ip")?;
    ip.args(arguments);
    succeed(ip, "ip").map(drop)
}
