use std::fs;
use std::time::Duration;

use super::*;

const UID: &str = "0f4d7a4e-1f0b-4f5e-9a53-1f2f3b4c5d6e";
const HASH: &str = "0123456789abcdef0123456789abcdef";

/// A tree of plain directories: inotify and names are the same there.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("baton-tree-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }

    fn make(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        fs::create_dir_all(&path).expect("a directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn next(tree: &mut Tree) {
    let changed = tokio::time::timeout(Duration::from_secs(10), tree.changed()).await;
    changed.expect("a change is seen").expect("inotify works");
}

#[test]
fn names_of_both_drivers_are_understood() {
    let systemd = UID.replace('-', "_");
    for (name, id) in [
        (format!("pod{UID}"), Some(UID)),
        (format!("pod{HASH}"), Some(HASH)),
        (format!("kubepods-pod{systemd}.slice"), Some(UID)),
        (format!("kubepods-burstable-pod{systemd}.slice"), Some(UID)),
        (format!("kubelet-kubepods-besteffort-pod{systemd}.slice"), Some(UID)),
        ("podman".to_owned(), None),
        ("podinfo.service".to_owned(), None),
        ("kubepods-burstable.slice".to_owned(), None),
        (format!("cri-containerd-{HASH}.scope"), None),
    ] {
        assert_eq!(pod_id(&name).as_deref(), id, "{name}");
    }
}

#[tokio::test]
async fn pods_of_all_classes_and_drivers_are_found() {
    let scratch = Scratch::new("walk");
    let unit = UID.replace('-', "_");
    for (number, path) in [
        format!("kubepods/pod{UID}"),
        format!("kubepods/burstable/pod{UID}"),
        format!("kubepods/besteffort/pod{HASH}"),
        format!("kubepods.slice/kubepods-pod{unit}.slice"),
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{unit}.slice"),
        format!("kubelet/kubepods/burstable/pod{UID}"),
        format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{unit}.slice"),
        format!("some/where/else/kubepods/burstable/pod{UID}"),
    ]
    .iter()
    .enumerate()
    {
        let root = scratch.make(&number.to_string());
        let pod = scratch.make(&format!("{number}/{path}"));
        fs::create_dir_all(pod.join("container")).expect("a container's directory");
        scratch.make(&format!("{number}/system.slice/ssh.service"));
        let tree = Tree::open(&root).expect("the tree is read");
        let id = if path.contains(HASH) { HASH } else { UID };
        assert_eq!(tree.directory(id), Some(pod.as_path()), "{path}");
    }
}

#[tokio::test]
async fn directories_that_come_and_go_are_followed() {
    let scratch = Scratch::new("follow");
    let mut tree = Tree::open(&scratch.0).expect("the tree is read");
    assert!(!tree.is_found());
    // All at once, faster than anybody can watch.
    let first = scratch.make(&format!("kubepods/burstable/pod{UID}"));
    next(&mut tree).await;
    assert_eq!(tree.directory(UID), Some(first.as_path()));
    assert!(tree.is_found());
    let second = scratch.make(&format!("kubepods/burstable/pod{HASH}"));
    next(&mut tree).await;
    assert_eq!(tree.directory(HASH), Some(second.as_path()));
    fs::remove_dir(&first).expect("it is empty");
    next(&mut tree).await;
    assert_eq!((tree.directory(UID), tree.directory(HASH)), (None, Some(second.as_path())));
    fs::remove_dir(&second).expect("it is empty");
    next(&mut tree).await;
    fs::remove_dir_all(scratch.0.join("kubepods")).expect("it is empty");
    scratch.make(&format!("kubepods/pod{UID}"));
    next(&mut tree).await;
    assert!(tree.directory(UID).is_some(), "a kubelet that starts anew is followed");
}
