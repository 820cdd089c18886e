//! The programs that demo and tests drive, and the Debian packages that bring them.

use std::path::Path;
use std::process::Command;

use super::Purpose;
use crate::{process, vm, workspace};

struct Program {
    packages: &'static [&'static str],
    present: fn() -> bool,
    purposes: &'static [Purpose],
}

const PYTHON: &[Purpose] = &[
    Purpose::Demo,
    Purpose::Test,
    Purpose::TestWithoutCluster,
    Purpose::Vm,
    Purpose::Bench,
    Purpose::Compare,
    Purpose::Chart,
];
const VENV: &[Purpose] =
    &[Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm, Purpose::Bench, Purpose::Compare, Purpose::Chart];
const SHOWN: &[Purpose] = &[Purpose::Demo, Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm];
const JAVA: &[Purpose] = &[Purpose::Demo, Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm, Purpose::Compare];
const MEASURED: &[Purpose] =
    &[Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm, Purpose::Bench, Purpose::Compare];
const TESTED: &[Purpose] = &[Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm];
const CLUSTERED: &[Purpose] = &[Purpose::Test];
const TRANSFERRED: &[Purpose] =
    &[Purpose::Demo, Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm, Purpose::Traffic];
const REDIS: &[Purpose] = &[Purpose::Test, Purpose::TestWithoutCluster, Purpose::Vm, Purpose::Traffic];
const EMULATED: &[Purpose] = &[Purpose::Vm, Purpose::Test, Purpose::TestWithoutCluster];

const PROGRAMS: &[Program] = &[
    Program { packages: &["curl"], present: || has("curl"), purposes: TRANSFERRED },
    Program { packages: &["python3"], present: || has("python3"), purposes: PYTHON },
    Program {
        packages: &["libtomcat10-embed-java", "libtomcat10-java"],
        present: || {
            let library = |name: &str| Path::new("/usr/share/java").join(format!("tomcat10-{name}.jar")).is_file();
            library("embed-core") && library("annotations-api")
        },
        purposes: TESTED,
    },
    // The compiler, because the demo and the tests start from source.
    Program { packages: &["default-jdk-headless"], present: || has("java") && has("javac"), purposes: JAVA },
    Program { packages: &["gcc", "libc6-dev"], present: has_c_compiler, purposes: SHOWN },
    // libFuzzer is C++.
    Program { packages: &["g++"], present: || has("g++") || has("c++"), purposes: TESTED },
    Program { packages: &["python3-venv"], present: has_venv, purposes: VENV },
    Program { packages: &["php-cli", "php-curl"], present: || has_module("php", &["--ri", "curl"]), purposes: TESTED },
    Program { packages: &["php-fpm"], present: has_php_fpm, purposes: TESTED },
    Program {
        packages: &["ruby", "ruby-webrick"],
        present: || has_module("ruby", &["-rwebrick", "-e", ""]),
        purposes: TESTED,
    },
    Program {
        packages: &["puma", "ruby-rack"],
        present: || has("puma") && has_module("ruby", &["-rrack", "-e", ""]),
        purposes: TESTED,
    },
    Program { packages: &["nodejs"], present: || has("node"), purposes: MEASURED },
    Program { packages: &["npm"], present: || has("npm"), purposes: MEASURED },
    Program { packages: &["golang-go"], present: || has("go"), purposes: MEASURED },
    Program { packages: &["haproxy"], present: || has("haproxy"), purposes: &[Purpose::Compare] },
    Program { packages: &["linux-perf"], present: || has("perf"), purposes: &[Purpose::Profile] },
    Program { packages: &["nginx-light"], present: || has("nginx"), purposes: TESTED },
    Program { packages: &["redis-server"], present: || has("redis-server"), purposes: REDIS },
    Program { packages: &["postgresql"], present: has_postgres, purposes: TESTED },
    Program { packages: &["iproute2"], present: || has("ip"), purposes: TESTED },
    // With promtool, which is in no package of its own. Where systemd runs, this package also starts Prometheus as a
    // service on port 9090; the tests start one of their own, on another port.
    Program { packages: &["prometheus"], present: || has("prometheus") && has("promtool"), purposes: TESTED },
    Program { packages: &["chromium"], present: || has("chromium"), purposes: TESTED },
    Program { packages: &["openssl"], present: || has("openssl"), purposes: TESTED },
    Program { packages: &["qemu-system-x86"], present: || has("qemu-system-x86_64"), purposes: EMULATED },
    Program { packages: &["qemu-system-arm"], present: || has("qemu-system-aarch64"), purposes: &[Purpose::Vm] },
    Program {
        packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        present: || has(vm::COMPILER) && Path::new(vm::LIBRARY).join("include/stdio.h").is_file(),
        purposes: &[Purpose::Vm],
    },
    // Debian's QEMU brought it along up to bookworm.
    Program {
        packages: &["virtiofsd"],
        present: || vm::virtiofsd().is_some() || !super::apt::is_known("virtiofsd"),
        purposes: EMULATED,
    },
    Program { packages: &["xz-utils"], present: || has("xz"), purposes: EMULATED },
    // Kubernetes itself is built from source, see `cluster`.
    Program { packages: &["etcd-server"], present: || has("etcd"), purposes: CLUSTERED },
    Program { packages: &["containerd"], present: || has("containerd") && has("ctr"), purposes: CLUSTERED },
    Program { packages: &["runc"], present: || has("runc"), purposes: CLUSTERED },
    Program { packages: &["containernetworking-plugins"], present: has_network_plugins, purposes: CLUSTERED },
    Program { packages: &["busybox-static"], present: || has("busybox"), purposes: CLUSTERED },
];

/// The packages of the programs that `purpose` needs and that are not there.
pub(super) fn missing_packages(purpose: Purpose) -> Vec<String> {
    let missing = PROGRAMS.iter().filter(|program| program.purposes.contains(&purpose) && !(program.present)());
    missing.flat_map(|program| program.packages).map(ToString::to_string).collect()
}

fn has(program: &str) -> bool {
    workspace::find(program).is_some()
}

fn has_module(program: &str, arguments: &[&str]) -> bool {
    has(program) && process::succeeds(Command::new(program).args(arguments))
}

fn has_c_compiler() -> bool {
    has("gcc") && Path::new("/usr/include/stdio.h").is_file()
}

fn has_venv() -> bool {
    // A finished virtual environment needs no module to make one.
    super::python::USUAL.is_current() || has_module("python3", &["-c", "import venv, ensurepip"])
}

fn has_php_fpm() -> bool {
    // Debian's has its version in its name.
    let mut programs = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten();
    programs.any(|program| program.file_name().to_string_lossy().starts_with("php-fpm"))
}

fn has_network_plugins() -> bool {
    ["bridge", "host-local", "loopback"].iter().all(|plugin| Path::new("/usr/lib/cni").join(plugin).is_file())
}

fn has_postgres() -> bool {
    // Debian keeps the server out of the search path, one directory per version.
    let mut versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    has("postgres") || versions.any(|version| version.path().join("bin/postgres").is_file())
}
