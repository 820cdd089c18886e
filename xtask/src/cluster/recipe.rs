//! What the Kubernetes of the tests is made of. Its directory in the cache is named after all of this.

use crate::checksum::Checksum;

/// Debian's source package `kubernetes` has had this version since Debian 11.
pub(super) const VERSION: &str = "1.20.2";

/// The release whose packages are used, whatever release this machine runs.
pub(super) const SUITE: &str = "bookworm";

pub(super) const SOURCE: &str = "kubernetes";

/// Unpacked, not installed. The Go is the last one that this source is known to compile with; reflect2 1.0.1 in the
/// source crashes when it was built with Go 1.18 or later, 1.0.2 does not.
pub(super) const PACKAGES: [&str; 3] = ["golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev"];

/// kubectl, too: Debian's package of it cannot be installed beside other vendors' packages.
pub(super) const PROGRAMS: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];

/// The Go packages that hold a version, as Kubernetes' own build sets it.
const VERSIONED: [&str; 2] =
    ["k8s.io/kubernetes/vendor/k8s.io/component-base/version", "k8s.io/component-base/version"];

/// To be raised when the way of building changes what is built.
const REVISION: &str = "1";

/// The linker's flags: without symbols, and with the version.
pub(super) fn linker_flags() -> String {
    let mut flags = "-s -w".to_owned();
    let mut parts = VERSION.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for package in VERSIONED {
        flags +=
            &format!(" -X {package}.gitVersion=v{VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}");
    }
    flags
}

/// The name of what this recipe makes on this kind of processor.
pub(super) fn name() -> String {
    let mut sum = Checksum::new();
    let flags = linker_flags();
    let fixed = [VERSION, SUITE, SOURCE, REVISION, std::env::consts::ARCH, &flags];
    for part in fixed.into_iter().chain(PACKAGES).chain(PROGRAMS) {
        sum.add(part.as_bytes());
    }
    format!("kubernetes-{VERSION}-{sum}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_linked_in() {
        let flags = linker_flags();
        assert!(flags.contains(".gitVersion=v1.20.2 ") && flags.contains(".gitMinor=20"), "{flags}");
    }

    #[test]
    fn the_name_is_the_same_each_time() {
        assert_eq!(name(), name());
        assert!(name().starts_with("kubernetes-1.20.2-"));
    }
}
