//! Takes sockets out of the SOCKHASH once that is safe; see `leave.rs` of the
//! kernel side.

use std::io::Read as _;

use anyhow::Context as _;
use aya::programs::Iter;

use super::load::Datapath;

/// Lets all sockets of this process's network namespace leave that shall and
/// can. Returns how many have to wait for their application to read what has
/// arrived.
pub(crate) fn pass(datapath: &mut Datapath) -> anyhow::Result<usize> {
    let program: &mut Iter = datapath.program("iter_tcp_leave")?;
    let link = program.attach().context("failed to attach the socket iterator")?;
    let mut output = program.take_link(link)?.into_file().context("failed to start the socket iterator")?;
    let mut waiting = Vec::new();
    output.read_to_end(&mut waiting).context("failed to walk the sockets")?;
    Ok(waiting.len())
}

/// Number of sockets in the SOCKHASH.
pub(crate) fn members(datapath: &mut Datapath) -> anyhow::Result<usize> {
    Ok(datapath.members()?.keys().filter(Result::is_ok).count())
}
