//! Puts the eBPF object into `OUT_DIR/baton-ebpf`: built from source where rust-src and bpf-linker are there, else the
//! committed one. `BATON_EBPF=prebuilt` asks for that: each of cargo's profiles would build it once more.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use aya_build::{Package, Toolchain};

const ROOT: &str = "../agent-ebpf";

fn main() -> anyhow::Result<()> {
    for path in [ROOT, "../common/src", "../Cargo.lock", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=PATH");
    println!("cargo:rerun-if-env-changed=BATON_EBPF");
    let wants_prebuilt = env::var_os("BATON_EBPF").is_some_and(|value| value == "prebuilt");
    let missing = if wants_prebuilt { None } else { missing_tool() };
    let origin = if wants_prebuilt || missing.is_some() {
        copy_prebuilt(missing)?;
        "prebuilt"
    } else {
        build_from_source()?;
        "source"
    };
    println!("cargo:rustc-env=BATON_EBPF_ORIGIN={origin}");
    Ok(())
}

/// What a build from source lacks.
fn missing_tool() -> Option<&'static str> {
    let sysroot =
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(["--print", "sysroot"]).output();
    let has_source = sysroot.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&path).join("lib/rustlib/src/rust/library/core").is_dir()
    });
    if !has_source {
        return Some("rust-src");
    }
    let linker = Command::new("bpf-linker").arg("--version").output();
    if linker.is_ok_and(|output| output.status.success()) { None } else { Some("bpf-linker") }
}

fn out_dir() -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?))
}

fn copy_prebuilt(missing: Option<&str>) -> anyhow::Result<()> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let object = PathBuf::from(format!("{ROOT}/prebuilt/baton-ebpf.{arch}.o"));
    if !object.is_file() {
        let missing = missing.unwrap_or("what it takes to build one");
        bail!("{missing} is not installed and there is no prebuilt object for {arch}; `cargo xtask setup` installs it");
    }
    if let Some(missing) = missing {
        println!("cargo:warning={missing} is not installed: using the prebuilt eBPF object for {arch}");
    }
    fs::copy(&object, out_dir()?.join("baton-ebpf")).with_context(|| format!("failed to copy {}", object.display()))?;
    Ok(())
}

/// The object's bytes must not depend on the machine that builds it, so that CI
/// can compare the committed object with a fresh one.
fn build_from_source() -> anyhow::Result<()> {
    let wrapper = write_rustc_wrapper()?;
    for (name, value) in [
        // For -Z build-std: the target has no compiled standard library.
        ("RUSTC_BOOTSTRAP", "1"),
        ("CARGO_UNSTABLE_TRIM_PATHS", "true"),
        ("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all"),
        // Else each line of the inner cargo is repeated as a warning.
        ("CARGO_TERM_QUIET", "true"),
        ("RUSTC_WRAPPER", &wrapper),
    ] {
        // SAFETY: a build script has one thread.
        #[expect(unsafe_code, reason = "aya-build passes settings through the environment only")]
        unsafe {
            env::set_var(name, value);
        }
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    aya_build::build_ebpf(
        [Package { name: "baton-ebpf", root_dir: ROOT, ..Default::default() }],
        Toolchain::Custom(&toolchain),
    )
}

/// Registry directories are named after a host, which trim-paths keeps.
fn write_rustc_wrapper() -> anyhow::Result<String> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // BPF instruction set v3: atomic operations with a result (Linux 5.12), and
    // 32-bit arithmetic. Macros are built for the host and keep its processor.
    // The linker's default makes calls of loops over single bytes out of small
    // memset()s.
    let mut script = String::from(
        "#!/bin/sh\ncase \" $* \" in *' bpfel-unknown-none '*) set -- \"$@\" -Ctarget-cpu=v3 -Clink-arg=--disable-expand-memcpy-in-order ;; esac\nexec \"$@\"",
    );
    let mut registries: Vec<PathBuf> = fs::read_dir(home.join("registry/src"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    registries.sort();
    for registry in registries {
        write!(script, " '--remap-path-prefix={}=crates'", registry.display())?;
    }
    script.push('\n');
    let path = out_dir()?.join("rustc-wrapper");
    fs::write(&path, script).with_context(|| format!("failed to write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_string_lossy().into_owned())
}
