//! Cgroups.

use core::ffi::c_void;

use super::read;

/// A cgroup, as `struct cgroup`.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup(pub(super) u64);

impl Cgroup {
    /// The cgroup's id (its inode number in cgroup2).
    #[inline(always)]
    pub(crate) fn id(self) -> u64 {
        let node: u64 = read(self.0 as *const c_void, offset!(cgroup_kn));
        read(node as *const c_void, offset!(kernfs_node_id))
    }

    /// The parent; `None` at the root.
    #[inline(always)]
    pub(crate) fn parent(self) -> Option<Self> {
        // `struct cgroup_subsys_state self` is the first member of struct cgroup.
        let parent: u64 = read(self.0 as *const c_void, offset!(cgroup_parent));
        if parent == 0 { None } else { Some(Self(parent)) }
    }

    /// Whether there is one.
    #[inline(always)]
    pub(crate) const fn exists(self) -> bool {
        self.0 != 0
    }
}
