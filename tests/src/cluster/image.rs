//! Container images (OCI Image Format 1.0) made of this machine's own programs, without a container engine or a network.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::process;
use crate::programs::{command, find, source, succeed};

/// The image of the container that holds a pod's namespaces.
pub(super) const PAUSE: &str = "test.local/pause:1";

const APPLETS: [&str; 8] = ["sh", "sleep", "cat", "echo", "ls", "wget", "id", "true"];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image of one layer.
pub struct Image {
    name: String,
    layer: Builder<Vec<u8>>,
    there: BTreeSet<PathBuf>,
    entry: Vec<String>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("name", &self.name).field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Image {
    /// What pods call the image of [`Image::hop`].
    pub const HOP: &str = "test.local/hop:1";

    /// An image without any program: `test.local/NAME:1`.
    pub fn new(name: &str) -> Result<Self> {
        let mut image =
            Self { name: name.to_owned(), layer: Builder::new(Vec::new()), there: BTreeSet::new(), entry: Vec::new() };
        // containerd reads no sparse files, as which linkers leave programs.
        image.layer.sparse(false);
        for (directory, mode) in [("tmp", 0o1777), ("dev", 0o755), ("proc", 0o755), ("sys", 0o755), ("etc", 0o755)] {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Directory);
            header.set_mode(mode);
            header.set_size(0);
            image.layer.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
        }
        Ok(image)
    }

    /// What holds a pod's namespaces, and does nothing.
    pub(super) fn pause() -> Result<Self> {
        Ok(Self::busybox()?.named("pause").entry(&["/bin/sleep", "2147483647"]))
    }

    /// busybox, with a shell.
    pub fn busybox() -> Result<Self> {
        let mut image = Self::new("busybox")?.entry(&["/bin/sleep", "2147483647"]);
        let busybox = find("busybox")?;
        image.add(&busybox, Path::new("/bin/busybox"))?;
        // None, if it is Debian's static one.
        image.add_libraries(&[busybox])?;
        for applet in APPLETS {
            image.link(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(image)
    }

    fn link(&mut self, path: &str, to: &str) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        Ok(self.layer.append_link(&mut header, path, to)?)
    }

    /// One service of a chain, with Debian's Python: see tests/apps/python/hop.py.
    pub fn hop() -> Result<Self> {
        let mut image = Self::new("hop")?;
        let python = image.add_python()?.display().to_string();
        image.link("bin/python3", &python)?;
        image.add(&source("python/hop.py"), Path::new("/hop.py"))?;
        Ok(image.entry(&["python3", "/hop.py"]))
    }

    /// What its containers run.
    #[must_use]
    pub fn entry(mut self, command: &[&str]) -> Self {
        self.entry = command.iter().map(ToString::to_string).collect();
        self
    }

    fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// What pods call it.
    pub fn reference(&self) -> String {
        format!("test.local/{}:1", self.name)
    }

    /// Adds a file of this machine under a path of the image.
    pub fn add(&mut self, file: &Path, path: &Path) -> Result<()> {
        if self.there.insert(path.to_owned()) {
            let inside = path.strip_prefix("/").unwrap_or(path);
            self.layer
                .append_path_with_name(file, inside)
                .with_context(|| format!("failed to add {} to an image", file.display()))?;
        }
        Ok(())
    }

    /// Adds a program with the libraries that it is linked with, all under the paths that they have here.
    pub fn add_program(&mut self, program: &Path) -> Result<()> {
        self.add(program, program)?;
        self.add_libraries(&[program.to_owned()])
    }

    fn add_libraries(&mut self, files: &[PathBuf]) -> Result<()> {
        let mut ldd = command("ldd")?;
        ldd.args(files);
        // It fails when one of the files is linked statically, which needs nothing.
        let printed = process::run(ldd, b"", Duration::from_secs(60))?;
        for library in libraries(&String::from_utf8_lossy(&printed.stdout)) {
            self.add(library, library)?;
        }
        Ok(())
    }

    /// Adds this machine's Python and its standard library. Returns the interpreter's path.
    fn add_python(&mut self) -> Result<PathBuf> {
        let mut ask = Command::new(find("python3")?);
        ask.args(["-c", "import sys, sysconfig; print(sys._base_executable); print(sysconfig.get_path('stdlib'))"]);
        let answer = succeed(ask, "python3")?;
        let (interpreter, library) = answer.trim().split_once('\n').context("python3 named no library")?;
        let interpreter = fs::canonicalize(interpreter)?;
        self.add_program(&interpreter)?;
        let files = modules(Path::new(library))?;
        for file in &files {
            self.add(file, file)?;
        }
        let extensions = files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "so"));
        self.add_libraries(&extensions.collect::<Vec<_>>())?;
        Ok(interpreter)
    }

    /// Writes it as an archive that `ctr image import` reads.
    pub(super) fn write(self, file: &Path) -> Result<()> {
        let (architecture, reference) = (architecture(), self.reference());
        let layer = Blob::new(self.layer.into_inner()?);
        let config = Blob::json(&json!({
            "architecture": architecture, "os": "linux",
            "config": {"Entrypoint": self.entry, "Env": [PATH]},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
        }));
        let manifest = Blob::json(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        }));
        let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = json!({"io.containerd.image.name": reference});
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});

        let mut archive = Builder::new(File::create(file)?);
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", index.to_string().as_bytes())?;
        for blob in [layer, config, manifest] {
            append(&mut archive, &format!("blobs/sha256/{}", blob.sum), &blob.bytes)?;
        }
        archive.finish().with_context(|| format!("failed to write {}", file.display()))
    }
}

/// What a descriptor points to.
struct Blob {
    bytes: Vec<u8>,
    sum: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let sum = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, sum }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.sum)
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": self.digest(), "size": self.bytes.len()})
    }
}

fn append(archive: &mut Builder<File>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    Ok(archive.append_data(&mut header, name, bytes)?)
}

/// The processor, as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The files that ldd(1) names: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn libraries(printed: &str) -> impl Iterator<Item = &Path> {
    let lines = printed.lines().filter_map(|line| line.trim().split_once(" (0x"));
    let files = lines.map(|(names, _)| names.rsplit(" => ").next().unwrap_or(names));
    files.map(Path::new).filter(|file| file.is_absolute())
}

/// The files of Python's standard library, without what only developers of Python use.
fn modules(library: &Path) -> Result<Vec<PathBuf>> {
    const UNUSED: [&str; 8] =
        ["__pycache__", "test", "tests", "idlelib", "ensurepip", "lib2to3", "site-packages", "dist-packages"];
    let (mut open, mut found) = (vec![library.to_owned()], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("failed to list {}", directory.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if UNUSED.contains(&name.as_ref()) || name.starts_with("config-") {
                continue;
            }
            // Debian's links into /etc may lead nowhere.
            let Ok(kind) = fs::metadata(&path) else { continue };
            if kind.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_found() {
        let printed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f2a)\n\
                       \t/lib64/ld.so (0x00007f2b)\n\tlibmissing.so => not found\n";
        let found: Vec<_> = libraries(printed).collect();
        assert_eq!(found, [Path::new("/lib/x/libc.so.6"), Path::new("/lib64/ld.so")]);
    }

    #[test]
    fn a_descriptor_has_the_digest_of_its_bytes() {
        let descriptor = Blob::new(b"abc".to_vec()).descriptor("text/plain");
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((descriptor["digest"].as_str(), descriptor["size"].as_u64()), (Some(digest), Some(3)));
    }
}
