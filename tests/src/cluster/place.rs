//! What a node needs of this machine: a view of its file systems, cgroups, a bridge. All of it goes away again.
//!
//! The kubelet, containerd and what they start see the machine from a mount namespace of their own: their mounts, and
//! the files that they keep under `/run` and `/var`, end with its last process. All processes are in one cgroup v2
//! directory, so that one write to its `cgroup.kill` ends them, however they were started.
//!
//! Where cgroup v1 is mounted beside v2 (a hybrid machine), the kubelet makes its cgroups in v1 alone. runc makes the same
//! ones in v2, too, when it starts a pod's sandbox, and moves each container's first process there before that runs its
//! program. Nobody removes a pod's own directory from v2 then; it stays, empty, until the cluster ends.
//!
//! Directory, cgroups and bridge are named after the test process: xtask/src/leftovers.rs finds and removes them when that
//! was killed. Keep in sync with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cgroup::mount;
use crate::process::Running;
use crate::programs::{command, find, succeed};
use crate::scratch::{Scratch, serial};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// What the kubelet and the bridge plugin change for the whole machine.
pub(super) const SYSCTLS: [&str; 7] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
];

/// The node's own `/run`, `/var/lib` and `/var/log`; the kubelet's directory is on a disk, as its disk usage is watched.
/// Its own BPF file system, too, as systemd mounts one on each node. `rshared` is how systemd leaves `/`, and what mount propagation into pods needs.
const VIEW: &str = "mount --make-rshared / \
    && for directory in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $directory || exit; done \
    && mount -t bpf bpf /sys/fs/bpf \
    && mkdir /run/netns /var/lib/kubelet && mount --bind \"$0\" /var/lib/kubelet \
    && echo ready && exec sleep infinity";

/// The place of one cluster.
#[derive(Debug)]
pub(super) struct Place {
    /// Its process is there as long as the namespace is needed.
    keeper: Option<Running>,
    unified: PathBuf,
    legacy: Vec<PathBuf>,
    bridge: Bridge,
    sysctls: Vec<(PathBuf, String)>,
    files: Scratch,
}

impl Place {
    pub(super) fn new() -> Result<Self> {
        let files = Scratch::new()?;
        let name = files.path().file_name().unwrap_or_default().to_os_string();
        let sysctls = SYSCTLS.iter().map(|name| Path::new("/proc/sys").join(name));
        let sysctls = sysctls.filter_map(|file| Some((fs::read_to_string(&file).ok()?, file)));
        let sysctls: Vec<_> = sysctls.map(|(value, file)| (file, value.trim().to_owned())).collect();
        let saved: String = sysctls.iter().map(|(file, value)| format!("{}={value}\n", file.display())).collect();
        files.write("sysctls", saved)?;
        let mut place = Self {
            keeper: None,
            unified: mount("cgroup2")?.join(&name),
            legacy: legacy_hierarchies()?.iter().map(|hierarchy| hierarchy.join(&name)).collect(),
            bridge: Bridge::new()?,
            sysctls,
            files,
        };
        for directory in place.legacy.iter().chain([&place.unified, &place.node_cgroup()]) {
            fs::create_dir(directory).with_context(|| format!("failed to make the cgroup {}", directory.display()))?;
        }
        place.keeper = Some(place.make_view()?);
        Ok(place)
    }

    fn make_view(&self) -> Result<Running> {
        let kubelet = self.files.join("kubelet");
        fs::create_dir(&kubelet)?;
        let mut unshare = self.outside("unshare")?;
        unshare.args(["--mount", "--propagation", "private", "/bin/sh", "-c", VIEW]).arg(kubelet);
        let mut keeper = Running::spawn(unshare, self.files.join("view.log"))?;
        wait::until("the node's mount namespace", LIMIT, || {
            if keeper.ended()?.is_some() {
                bail!("the node's mount namespace could not be made: {}", keeper.output());
            }
            Ok(keeper.output().contains("ready").then_some(()))
        })?;
        Ok(keeper)
    }

    /// Files of the cluster.
    pub(super) fn files(&self) -> &Scratch {
        &self.files
    }

    /// The node's network.
    pub(super) fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// The cgroup below which the kubelet makes `kubepods`, as a path in each hierarchy.
    pub(super) fn cgroup_root(&self) -> Result<PathBuf> {
        Ok(Path::new("/").join(self.unified.strip_prefix(mount("cgroup2")?)?))
    }

    /// The cgroup v2 directory of the same.
    pub(super) fn unified(&self) -> &Path {
        &self.unified
    }

    /// Ends every process that the cluster has started, at once.
    pub(super) fn kill(&self) {
        // Linux 5.14. It reaches the cgroups below, too.
        if let Err(error) = fs::write(self.unified.join("cgroup.kill"), "1") {
            eprintln!("failed to end the processes in {}: {error}", self.unified.display());
        }
    }

    fn node_cgroup(&self) -> PathBuf {
        self.unified.join("node")
    }

    /// A command that sees the machine as it is. It ends with the place.
    pub(super) fn outside(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(self.node_cgroup());
        shell.arg(program_file(program.as_ref())?);
        Ok(shell)
    }

    /// A command that sees the machine as the node does.
    pub(super) fn inside(&self, program: impl AsRef<Path>) -> Result<Command> {
        let keeper = self.keeper.as_ref().context("the node has no mount namespace yet")?;
        let mut enter = self.outside("nsenter")?;
        enter.arg(format!("--mount=/proc/{}/ns/mnt", keeper.pid())).arg("--").arg(program_file(program.as_ref())?);
        Ok(enter)
    }
}

fn program_file(program: &Path) -> Result<PathBuf> {
    if program.is_absolute() { Ok(program.to_owned()) } else { find(&program.to_string_lossy()) }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
        self.keeper = None;
        let trees = self.legacy.iter().chain([&self.unified]);
        for tree in trees {
            let gone = wait::until("an empty cgroup", LIMIT, || Ok(remove_tree(tree).is_ok().then_some(())));
            if gone.is_err() && tree.exists() {
                eprintln!("the cgroup {} is left behind: it still holds processes", tree.display());
            }
        }
        for (file, value) in &self.sysctls {
            if let Err(error) = fs::write(file, value) {
                eprintln!("failed to write {value} back to {}: {error}", file.display());
            }
        }
    }
}

/// Where cgroup v1 hierarchies are mounted. The kubelet wants its root in each.
pub(super) fn legacy_hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let legacy = fields.filter(|fields| fields.get(2) == Some(&"cgroup"));
    Ok(legacy.filter_map(|fields| fields.get(1).map(PathBuf::from)).collect())
}

fn remove_tree(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// The bridge that pods are connected to. Its address is the node's, so that none of the machine's own is needed.
#[derive(Debug)]
pub(super) struct Bridge {
    name: String,
    network: String,
}

impl Bridge {
    fn new() -> Result<Self> {
        let pid = std::process::id();
        // A name of at most 15 characters (IFNAMSIZ); private addresses, to which headers go.
        let bridge = Self { name: format!("bt-{pid}-{}", serial() % 1000), network: format!("10.213.{}", pid % 256) };
        ip(&["link", "add", &bridge.name, "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", bridge.address()), "dev", &bridge.name])?;
        ip(&["link", "set", &bridge.name, "up"])?;
        Ok(bridge)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> String {
        format!("{}.1", self.network)
    }

    pub(super) fn subnet(&self) -> String {
        format!("{}.0/24", self.network)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Err(error) = ip(&["link", "delete", &self.name]) {
            eprintln!("the bridge {} is left behind: {error:#}", self.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut ip = command("ip")?;
    ip.args(arguments);
    succeed(ip, "ip").map(drop)
}
