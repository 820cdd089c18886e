//! The first process of a guest: this very program. It mounts what is needed, runs the job's programs one after the
//! other, and tells the host about them.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::chroot;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::kmod::init_module;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::job::{Event, JOB, Job, MODULES, Outcome, PORT, Program, SHARE};
use super::{loopback, refusal};

/// Between two looks at a child. The guest is slow enough.
const POLL: Duration = Duration::from_millis(20);

/// Where programs keep temporary files: in memory, whatever lies below the host's /tmp.
const TEMPORARY: &str = "/run/tmp";

/// Does the job and switches the machine off. Returns only when even that fails.
pub(crate) fn run() -> Result<()> {
    if std::process::id() != 1 {
        bail!("this is what `cargo xtask vm` starts in its guests, and of no use elsewhere");
    }
    if let Err(error) = guest() {
        // On the console: the host shows it when it hears nothing else.
        crate::say::failure(&error);
    }
    reboot(RebootMode::RB_AUTOBOOT).context("failed to switch off").map(drop)
}

fn guest() -> Result<()> {
    attach("proc", "/proc", "proc", "")?;
    attach("sysfs", "/sys", "sysfs", "")?;
    attach("devtmpfs", "/dev", "devtmpfs", "")?;
    load_modules()?;
    let mut host = Host(open_port()?);
    let done = host.follow_job();
    if let Err(error) = &done {
        host.tell(&Event::Broken { why: format!("{error:#}") })?;
    }
    Ok(())
}

fn attach(source: &str, target: &str, kind: &str, options: &str) -> Result<()> {
    mount(Some(source), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("failed to mount {kind} on {target}"))
}

fn load_modules() -> Result<()> {
    let names: Vec<String> = serde_json::from_slice(&fs::read(MODULES)?)?;
    for name in names {
        let bytes = fs::read(format!("/modules/{name}.ko"))?;
        init_module(&bytes, &CString::default()).with_context(|| format!("failed to load the module {name}"))?;
    }
    Ok(())
}

/// The device of the port, which appears soon after its driver.
fn open_port() -> Result<File> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        for port in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
            if name.trim() == PORT {
                let device = Path::new("/dev").join(port.file_name());
                return OpenOptions::new().write(true).open(device).context("failed to open the port to the host");
            }
        }
        if Instant::now() > deadline {
            bail!("there is no port to the host");
        }
        std::thread::sleep(POLL);
    }
}

/// The host's end.
struct Host(File);

impl Host {
    /// One line in one write.
    fn tell(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.0.write_all(&line).context("failed to write to the host")
    }

    fn follow_job(&mut self) -> Result<()> {
        let job: Job = serde_json::from_slice(&fs::read(JOB)?)?;
        enter_root()?;
        let release = nix::sys::utsname::uname().context("uname")?.release().to_string_lossy().into_owned();
        self.tell(&Event::Booted { release })?;
        loopback::bring_up()?;
        let mut doctor = Command::new(&job.baton);
        doctor.args(["doctor", "--json"]);
        let Finished { status, stdout, stderr } = job.finish(doctor)?;
        self.tell(&Event::Doctor { status: code(status), stdout, stderr })?;
        if job.refused {
            self.expect_refusals(&job)?;
        }
        for program in &job.programs {
            self.test(&job, program)?;
        }
        self.tell(&Event::Done)
    }

    fn test(&mut self, job: &Job, program: &Program) -> Result<()> {
        let mut list = Command::new(&program.path);
        list.args(["--list", "--format", "terse"]);
        let listed = job.finish(list)?;
        if !listed.status.success() {
            bail!("{} does not list its tests: {}", program.name, listed.stderr);
        }
        let names = listed.stdout.lines().filter_map(|line| line.strip_suffix(": test"));
        let chosen: Vec<&str> = names.filter(|name| job.wants(program, name)).collect();
        if chosen.is_empty() {
            return Ok(());
        }
        self.tell(&Event::Program { name: program.name.clone() })?;
        for test in chosen {
            let start = Instant::now();
            self.tell(&Event::Begun { test: test.to_owned() })?;
            let outcome = match program.skips(test) {
                Some(why) => Outcome::Skipped(why.to_owned()),
                None => job.one_test(program, test)?,
            };
            self.tell(&Event::Ended { outcome, seconds: start.elapsed().as_secs_f64() })?;
        }
        Ok(())
    }

    /// On a kernel that is too old, these are the tests.
    fn expect_refusals(&mut self, job: &Job) -> Result<()> {
        self.tell(&Event::Program { name: "refusal".to_owned() })?;
        for case in refusal::CASES {
            let start = Instant::now();
            self.tell(&Event::Begun { test: case.name.to_owned() })?;
            let mut command = Command::new(&job.baton);
            command.args(case.arguments);
            let Finished { status, stdout, stderr } = job.finish(command)?;
            let outcome = match case.judge(code(status), &stdout, &stderr) {
                Ok(()) => Outcome::Passed,
                Err(why) => Outcome::Failed(why),
            };
            self.tell(&Event::Ended { outcome, seconds: start.elapsed().as_secs_f64() })?;
        }
        Ok(())
    }
}

/// Makes the host's files the root, with a layer above them that takes all changes.
fn enter_root() -> Result<()> {
    mount(Some(SHARE), "/host", Some("virtiofs"), MsFlags::MS_RDONLY, None::<&str>)
        .context("failed to mount the host's files")?;
    attach("layer", "/layer", "tmpfs", "size=2g")?;
    fs::create_dir("/layer/upper")?;
    fs::create_dir("/layer/work")?;
    attach("root", "/new", "overlay", "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work")?;
    std::env::set_current_dir("/new")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("failed to move the new root")?;
    chroot(".").context("failed to enter the new root")?;
    std::env::set_current_dir("/")?;

    attach("proc", "/proc", "proc", "")?;
    attach("sysfs", "/sys", "sysfs", "")?;
    attach("devtmpfs", "/dev", "devtmpfs", "")?;
    for directory in ["/dev/pts", "/dev/shm"] {
        fs::create_dir_all(directory)?;
    }
    attach("devpts", "/dev/pts", "devpts", "ptmxmode=0666")?;
    attach("shm", "/dev/shm", "tmpfs", "")?;
    attach("run", "/run", "tmpfs", "")?;
    fs::create_dir(TEMPORARY)?;
    fs::set_permissions(TEMPORARY, std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
    attach("cgroup2", "/sys/fs/cgroup", "cgroup2", "")?;
    attach("bpf", "/sys/fs/bpf", "bpf", "")?;
    attach("tracefs", "/sys/kernel/tracing", "tracefs", "")?;
    attach("debugfs", "/sys/kernel/debug", "debugfs", "")
}

/// A program's end, with what it wrote.
struct Finished {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Job {
    fn wants(&self, program: &Program, test: &str) -> bool {
        let full = format!("{}::{test}", program.name);
        (self.filters.is_empty() || self.filters.iter().any(|filter| full.contains(filter)))
            && (program.has(test) || program.others.is_some())
    }

    /// Runs one test in a process of its own, whose exit status is the verdict.
    fn one_test(&self, program: &Program, test: &str) -> Result<Outcome> {
        let mut command = Command::new(&program.path);
        command.args(["--exact", test, "--test-threads=1"]);
        let finished = self.finish(command)?;
        Ok(if finished.status.success() {
            Outcome::Passed
        } else {
            let why = match finished.status.signal() {
                Some(signal) => {
                    format!("it was ended by signal {signal}, or took longer than {} s", self.limit_seconds)
                }
                None => format!("it ended with status {}", code(finished.status)),
            };
            Outcome::Failed(format!("{}{}\n{why}", finished.stdout, finished.stderr))
        })
    }

    /// Runs a program to its end, or to its limit. Nothing that it has started survives it.
    fn finish(&self, mut command: Command) -> Result<Finished> {
        let [out, err] = ["stdout", "stderr"].map(|name| PathBuf::from("/run").join(name));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .current_dir(&self.directory);
        command.env_clear().env("TMPDIR", TEMPORARY).envs(self.environment.iter().cloned());
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        let status = reap(Pid::from_raw(child.id().cast_signed()), Duration::from_secs(self.limit_seconds))?;
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ok(Finished { status, stdout: text(&out), stderr: text(&err) })
    }
}

/// Waits for `child`, and for all orphans as the first process must; then ends all that is left.
fn reap(child: Pid, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    let mut status = None;
    while status.is_none() {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)).context("waitpid")? {
            WaitStatus::Exited(pid, code) if pid == child => status = Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(pid, signal, _) if pid == child => status = Some(ExitStatus::from_raw(signal as i32)),
            WaitStatus::StillAlive if Instant::now() > deadline => kill_all(),
            WaitStatus::StillAlive => std::thread::sleep(POLL),
            _ => {}
        }
    }
    kill_all();
    // ECHILD: none is left.
    while waitpid(None, None).is_ok() {}
    status.context("the child is gone")
}

/// From the first process, this reaches all others.
fn kill_all() {
    // ESRCH: there is none.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
