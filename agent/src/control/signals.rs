//! Signals as events, with their origin.

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// Signals that are handed on to a command, or end the daemon.
pub(crate) const HANDED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// A stream of signals.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: AsyncFd<SignalFd>,
}

/// One signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Which.
    pub(crate) signal: Signal,
    /// Whether the kernel sent it, as it does for keys on a terminal: to all
    /// processes of the foreground group.
    pub(crate) from_terminal: bool,
}

impl Signals {
    /// Takes over [`HANDED_ON`] and `SIGCHLD` for this process.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut set = SigSet::empty();
        HANDED_ON.iter().chain(&[Signal::SIGCHLD]).for_each(|signal| set.add(*signal));
        set.thread_block().context("failed to block signals")?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("failed to open a signal descriptor")?;
        #[expect(unsafe_code, reason = "AsyncFd")]
        // SAFETY: a SignalFd owns its descriptor and never changes it.
        let descriptor = unsafe { AsyncFd::register(descriptor) }.context("failed to watch the signal descriptor")?;
        Ok(Self { descriptor })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Received> {
        /// `SI_KERNEL` (include/uapi/asm-generic/siginfo.h)
        const FROM_KERNEL: i32 = 0x80;
        loop {
            let mut ready = self.descriptor.readable_mut().await.context("failed to wait for signals")?;
            match ready.get_inner_mut().read_signal().context("failed to read a signal")? {
                None => ready.clear_ready(),
                Some(info) => {
                    let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
                    return Ok(Received { signal, from_terminal: info.ssi_code == FROM_KERNEL });
                }
            }
        }
    }
}
