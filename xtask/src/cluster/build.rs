//! Compiling Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::recipe;
use super::sources::Sources;
use crate::{process, say};

/// Where the programs are afterwards, in the build's directory.
pub(super) const OUTPUT: &str = "programs";

/// Where the source keeps its copy of reflect2, and where Debian's package of it puts it.
const VENDORED_REFLECT2: &str = "vendor/github.com/modern-go/reflect2";
const DEBIAN_REFLECT2: &str = "usr/share/gocode/src/github.com/modern-go/reflect2";

/// What marks Go packages whose types the API server describes.
const MARK: &str = "+k8s:openapi-gen=";

/// Builds all programs.
pub(super) fn programs(sources: &Sources) -> Result<()> {
    replace_reflect2(sources)?;
    generate_openapi(sources)?;
    let flags = recipe::linker_flags();
    for program in recipe::PROGRAMS {
        let start = Instant::now();
        let output = sources.work.join(OUTPUT).join(program);
        build(sources, &output, &format!("./cmd/{program}"), &["-ldflags", &flags])?;
        say::note(&format!("{program} (after {} s)", start.elapsed().as_secs()));
    }
    Ok(())
}

/// Puts Debian's reflect2 in the place of the older one in the source.
fn replace_reflect2(sources: &Sources) -> Result<()> {
    let (old, new) = (sources.kubernetes.join(VENDORED_REFLECT2), sources.root.join(DEBIAN_REFLECT2));
    for directory in [&old, &new] {
        for file in list(directory)? {
            let is_code = file.extension().is_some_and(|extension| extension == "go" || extension == "s");
            match file.file_name() {
                Some(_) if is_code && *directory == old => fs::remove_file(&file)?,
                Some(name) if is_code => fs::copy(&file, old.join(name)).map(drop)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes the one generated file that the source package lacks, as the source's own Makefile does.
fn generate_openapi(sources: &Sources) -> Result<()> {
    let start = Instant::now();
    let generator = sources.work.join("openapi-gen");
    build(sources, &generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", &[])?;
    let packages: Vec<String> =
        described(&sources.kubernetes)?.into_iter().map(|package| format!("k8s.io/kubernetes/{package}")).collect();
    let mut generate = Command::new(&generator);
    generate.args(["--logtostderr", "-p", "k8s.io/kubernetes/pkg/generated/openapi", "-O", "zz_generated.openapi"]);
    generate.args(["-i", &packages.join(","), "-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt"]);
    generate.arg("-r").arg(sources.work.join("violations")).arg("--output-base").arg(sources.gopath.join("src"));
    with_go(&mut generate, sources)?;
    process::read(&mut generate).context("the API's description could not be generated")?;
    say::note(&format!("the API's description (after {} s)", start.elapsed().as_secs()));
    Ok(())
}

fn build(sources: &Sources, output: &Path, package: &str, flags: &[&str]) -> Result<()> {
    let mut go = Command::new(goroot(sources).join("bin/go"));
    go.arg("build").args(flags).arg("-o").arg(output).arg(package);
    with_go(&mut go, sources)?;
    process::read(&mut go).with_context(|| format!("failed to build {package}"))?;
    Ok(())
}

fn goroot(sources: &Sources) -> PathBuf {
    // golang-1.19-go has its tools here.
    let major = recipe::PACKAGES[0].trim_start_matches("golang-").trim_end_matches("-go");
    sources.root.join(format!("usr/lib/go-{major}"))
}

/// Lets a command run in the source with this Go, and with none of the user's settings.
fn with_go(command: &mut Command, sources: &Sources) -> Result<()> {
    let goroot = goroot(sources);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([goroot.join("bin")].into_iter().chain(std::env::split_paths(&path)))?;
    command.current_dir(&sources.kubernetes).env("PATH", path).env("GOROOT", goroot);
    command.env("GOPATH", &sources.gopath).env("GOCACHE", sources.work.join("cache")).env("HOME", &sources.work);
    command.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "0"), ("GOPROXY", "off"), ("GOENV", "off")]);
    command.env_remove("GOFLAGS");
    Ok(())
}

/// The directories in the source with types that the API server describes.
fn described(source: &Path) -> Result<BTreeSet<String>> {
    let mut open: Vec<PathBuf> = ["pkg", "cmd", "plugin"].iter().map(|part| source.join(part)).collect();
    // Most of these are symbolic links to staging/.
    let vendored = list(&source.join("vendor/k8s.io"))?.into_iter().filter(|path| path.is_dir());
    open.extend(vendored.filter(|path| !path.ends_with("code-generator") && !path.ends_with("sample-apiserver")));
    let mut found = BTreeSet::new();
    while let Some(directory) = open.pop() {
        for path in list(&directory)? {
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && is_described(&path)? {
                found.insert(directory.strip_prefix(source)?.display().to_string());
            }
        }
    }
    Ok(found)
}

fn is_described(file: &Path) -> Result<bool> {
    let name = file.to_string_lossy();
    if !name.ends_with(".go") || name.ends_with("_test.go") {
        return Ok(false);
    }
    let text = fs::read(file).with_context(|| format!("failed to read {name}"))?;
    Ok(text.windows(MARK.len()).any(|window| window == MARK.as_bytes()))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    Ok(entries.collect::<std::io::Result<Vec<_>>>()?.iter().map(fs::DirEntry::path).collect())
}
