//! Threads and processes.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;

use super::read;

/// Thread id and process id of a `struct task_struct`.
#[inline(always)]
pub(crate) fn task_ids(task: *const c_void) -> (u32, u32) {
    (read(task, offset!(task_pid)), read(task, offset!(task_tgid)))
}

/// Whether the current thread is the only one of its process.
#[inline(always)]
pub(crate) fn is_only_thread() -> bool {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    let signal: u64 = read(task, offset!(task_signal));
    read::<u32>(signal as *const c_void, offset!(signal_threads)) == 1
}

/// Thread id and process id of the current thread, where the helper for it is
/// not to be had.
#[inline(always)]
pub(crate) fn current_ids() -> (u32, u32) {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() }.cast_const().cast::<c_void>();
    // SAFETY: the verifier checks the loads against the structure's type.
    let id = |offset: usize| unsafe { core::ptr::read_volatile(task.wrapping_byte_add(offset).cast::<u32>()) };
    (id(offset!(task_pid)), id(offset!(task_tgid)))
}

/// What pthread_self() is in the current thread, with glibc and musl.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    // SAFETY: no arguments.
    read(unsafe { bpf_get_current_task_btf() }.cast_const().cast(), offset!(task_thread_pointer))
}

/// The current thread's name. By hand, since not all programs may call bpf_get_current_comm() before 6.10.
#[inline(always)]
pub(crate) fn current_comm() -> [u8; 16] {
    // SAFETY: no arguments.
    read(unsafe { bpf_get_current_task_btf() }.cast_const().cast(), offset!(task_comm))
}
