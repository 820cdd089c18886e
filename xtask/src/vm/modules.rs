//! Which of a kernel's modules a guest loads, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::process;

/// What guests need: their devices, the host's file system with a layer above it, and what the tests use. A kernel
/// cannot load these by itself in a guest, which has no modprobe that finds them.
const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtiofs",
    "overlay",
    "veth",
    "inet_diag",
    "tcp_diag",
    "unix_diag",
    "xt_REDIRECT",
];

/// A module, ready to be loaded.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    /// Not compressed.
    pub(super) bytes: Vec<u8>,
}

/// The modules, each after those that it depends on. `directory` is the kernel's `/lib/modules/RELEASE`.
pub(super) fn in_order(directory: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(&directory.join("kernel"), &mut files)?;
    let builtin = directory.join("modules.builtin");
    let text = fs::read_to_string(&builtin).with_context(|| format!("failed to read {}", builtin.display()))?;
    let builtin: BTreeSet<String> = text.lines().filter_map(|line| module_name(Path::new(line))).collect();

    let mut order = Order { files, builtin, seen: BTreeSet::new(), modules: Vec::new() };
    for name in WANTED {
        order.add(name)?;
    }
    Ok(order.modules)
}

/// A walk along the dependencies.
struct Order {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Order {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.builtin.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else { bail!("the kernel has no module {name}") };
        let bytes = read(file)?;
        for needed in depends(&bytes).with_context(|| format!("failed to understand {}", file.display()))? {
            self.add(&needed)?;
        }
        self.modules.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// Adds the files of all modules below a directory, by the modules' names.
fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// A module's name has underscores where its file's name may have dashes; the file may be compressed.
fn module_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let (stem, ending) = name.split_once('.')?;
    ["ko", "ko.xz"].contains(&ending).then(|| stem.replace('-', "_"))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|ending| ending == "xz") {
        return process::read_bytes(Command::new("xz").args(["--decompress", "--stdout"]).arg(file));
    }
    fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

/// The modules that a module names as needed, in its section `.modinfo`: strings of the form KEY=VALUE.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let elf = object::File::parse(module).context("it is no object file")?;
    let section = elf.section_by_name(".modinfo").context("it has no section .modinfo")?;
    Ok(depends_of(section.data()?))
}

fn depends_of(modinfo: &[u8]) -> Vec<String> {
    let strings = modinfo.split(|byte| *byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let lists = strings.filter_map(|string| string.strip_prefix("depends="));
    lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_modules_are_read_from_modinfo() {
        let modinfo = b"license=GPL\0depends=virtio-ring,virtio\0\0\0name=virtio_pci\0vermagic=6.1.0 SMP\0";
        assert_eq!(depends_of(modinfo), ["virtio_ring", "virtio"]);
        assert!(depends_of(b"depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn modules_are_known_by_their_files() {
        assert_eq!(module_name(Path::new("/k/x/snd-hda.ko.xz")).as_deref(), Some("snd_hda"));
        assert_eq!(module_name(Path::new("kernel/veth.ko")).as_deref(), Some("veth"));
        assert_eq!(module_name(Path::new("/k/modules.order")), None);
    }
}
