//! A virtual machine without hardware support: QEMU, and the daemon that shows it the host's files, read-only.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::emulator::Emulator;
use super::initramfs::PROGRAM;
use super::job::{Event, PORT, SHARE};
use super::linux::Unpacked;
use crate::process::Service;
use crate::scratch::Scratch;
use crate::{interrupt, wait, workspace};

/// Memory of a guest, which it takes from the host's as it uses it.
const MEMORY: &str = "3G";

/// What QEMU and the daemon may take to start.
const START: Duration = Duration::from_secs(20);

/// How often a wait looks whether it is to end.
const POLL: Duration = Duration::from_millis(200);

/// The virtiofsd of Debian's packages: of qemu-system-common up to bookworm, a package of its own since.
const DAEMONS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// Where the daemon is that shares the host's files.
pub(crate) fn virtiofsd() -> Option<PathBuf> {
    DAEMONS.iter().map(PathBuf::from).find(|path| path.is_file()).or_else(|| workspace::find("virtiofsd"))
}

/// A running guest. Dropping it ends it; the machine goes before the daemon that it uses.
#[derive(Debug)]
pub(super) struct Guest {
    machine: Service,
    files: Service,
    events: BufReader<UnixStream>,
    /// What came of a line so far.
    line: Vec<u8>,
    console: PathBuf,
    _scratch: Scratch,
}

impl Guest {
    /// Boots a kernel with an initramfs; the guest's console goes to the file `console`.
    pub(super) fn boot(emulator: &Emulator, kernel: &Unpacked, initramfs: &[u8], console: &Path) -> Result<Self> {
        let scratch = Scratch::new("vm")?;
        let (shared, port, archive) = (scratch.join("files"), scratch.join("events"), scratch.join("initramfs"));
        fs::write(&archive, initramfs).with_context(|| format!("failed to write {}", archive.display()))?;
        fs::write(console, "").with_context(|| format!("failed to write {}", console.display()))?;

        let mut files = Command::new(virtiofsd().context("virtiofsd is missing: `cargo xtask setup --for vm`")?);
        files.arg(format!("--socket-path={}", shared.display()));
        files.args(["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "--thread-pool-size=1"]);
        let mut files = Service::start("virtiofsd", &mut files, &scratch.join("files.log"))?;
        wait::until("virtiofsd's socket", START, || {
            files.check_alive()?;
            Ok(shared.exists().then_some(()))
        })?;

        let listener = UnixListener::bind(&port).with_context(|| format!("failed to make {}", port.display()))?;
        listener.set_nonblocking(true)?;
        let mut machine = qemu(emulator, kernel, &archive, &shared, &port, console);
        let mut machine = Service::start("qemu", &mut machine, &scratch.join("qemu.log"))?;
        let events = wait::until("qemu's events", START, || {
            machine.check_alive()?;
            match listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("failed to accept qemu's connection"),
            }
        })?;
        events.set_nonblocking(false)?;
        events.set_read_timeout(Some(POLL))?;
        let events = BufReader::new(events);
        Ok(Self { machine, files, events, line: Vec::new(), console: console.to_owned(), _scratch: scratch })
    }

    /// The next event, which must come within `limit`.
    pub(super) fn next(&mut self, limit: Duration) -> Result<Event> {
        let deadline = Instant::now() + limit;
        loop {
            interrupt::check()?;
            match self.events.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.line);
                    return serde_json::from_slice(&line)
                        .with_context(|| format!("the guest said: {}", String::from_utf8_lossy(&line)));
                }
                Ok(_) => bail!("the guest has ended; its console says last:\n{}", self.last_words()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.files.check_alive()?;
                }
                Err(error) => return Err(error).context("failed to read from the guest"),
            }
            if Instant::now() > deadline {
                bail!(
                    "nothing from the guest for {} s; its console says last:\n{}",
                    limit.as_secs(),
                    self.last_words()
                );
            }
        }
    }

    /// The end of the console, or what QEMU said where there is nothing.
    fn last_words(&self) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = console.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(30));
        let words: Vec<String> = last.map(|line| format!("    {line}")).collect();
        format!("{}\n{}", words.join("\n"), self.machine.words())
    }
}

fn qemu(
    emulator: &Emulator,
    kernel: &Unpacked,
    initramfs: &Path,
    files: &Path,
    events: &Path,
    console: &Path,
) -> Command {
    let mut command = Command::new(&emulator.program);
    for directory in &emulator.firmware {
        command.arg("-L").arg(directory);
    }
    command.args(emulator.architecture.machine());
    command.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", MEMORY]);
    // virtiofsd reads and writes the guest's memory.
    command.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY},share=on")]);
    command.args(["-numa", "node,memdev=memory"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    // A kernel that panics restarts, and `-no-reboot` makes an end of that.
    let console_device = emulator.architecture.console();
    command
        .args(["-append", &format!("console={console_device} panic=-1 mitigations=off rdinit={PROGRAM} -- vm-guest")]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.arg("-chardev").arg(format!("socket,id=files,path={}", files.display()));
    command.args(["-device", &format!("vhost-user-fs-pci,chardev=files,tag={SHARE}")]);
    command.arg("-chardev").arg(format!("socket,id=events,path={}", events.display()));
    command.args(["-device", "virtio-serial-pci", "-device", &format!("virtserialport,chardev=events,name={PORT}")]);
    command
}
