//! All maps, named by their content.

use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerfEventArray, ProgramArray, RingBuf, SockHash, Stack};
use baton_common::attribution::{Claim, Context, Process};
use baton_common::flow::counter;
use baton_common::leave::Frozen;
use baton_common::names::Names;
use baton_common::policy::{AddressKey, MAX_WORKLOADS, Settings, Workload};
use baton_common::reading::Reading;
use baton_common::socket::Socket;

use crate::scratch::Scratch;

/// State of each enrolled socket; freed with the socket.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// The connected sockets whose writes `sk_msg` sees, by socket cookie. The
/// `sk_msg` program must not refer to it: a cycle would keep both alive.
#[map]
pub(crate) static MEMBERS: SockHash<u64> = SockHash::with_max_entries(65536, 0);

/// What the program does that is attached to [`MEMBERS`] where that map outlives
/// baton; see `outbound/gate.rs`.
#[map]
pub(crate) static DOOR: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// What looks at messages while baton lives, behind [`DOOR`].
#[map]
pub(crate) static GATE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Holds an event in its first place while baton lives.
#[map]
pub(crate) static ALIVE: PerfEventArray<u8> = PerfEventArray::new(0);

/// Members whose receive side stands still, so that they can leave, by socket cookie.
#[map]
pub(crate) static FROZEN: HashMap<u64, Frozen> = HashMap::with_max_entries(baton_common::leave::BATCH, 0);

/// Contexts by slot. User space sets the size.
#[map]
pub(crate) static CONTEXTS: Array<Context> = Array::with_max_entries(1, 0);

/// Slots that were given back.
#[map]
pub(crate) static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(1, 0);

/// Number of slots ever taken from the end of the table.
#[map]
pub(crate) static SLOTS_TAKEN: Array<u64> = Array::with_max_entries(1, 0);

/// The next context's number, of each processor; user space sets where it
/// begins, so that numbers are not used again after a restart.
#[map]
pub(crate) static NEXT_ID: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What each thread runs for, by thread id.
#[map]
pub(crate) static EXECUTORS: HashMap<u32, Claim> = HashMap::with_max_entries(65536, 0);

/// Reads that have begun, by thread id, where kprobes see them. Takes memory for those that there are only.
#[map]
pub(crate) static READINGS: HashMap<u32, Reading> = HashMap::with_max_entries(16_384, 1);

/// Processes that read requests, by process id.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(16384, 0);

/// The runtimes of processes that user space has looked at or shall look at, by
/// process id: constants of [`runtime::kind`](baton_common::runtime::kind).
#[map]
pub(crate) static RUNTIMES: HashMap<u32, u32> = HashMap::with_max_entries(65536, 1);

/// What user space shall know of processes.
#[map]
pub(crate) static NOTICES: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// The configured header names.
#[map]
pub(crate) static NAMES: Array<Names> = Array::with_max_entries(1, 0);

/// The same names as CGI gives them, see [`Names::folded`].
#[map]
pub(crate) static FOLDED_NAMES: Array<Names> = Array::with_max_entries(1, 0);

/// Settings of the node.
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Settings of each workload.
#[map]
pub(crate) static WORKLOADS: Array<Workload> = Array::with_max_entries(MAX_WORKLOADS as u32, 0);

/// Index of the workload of a cgroup, by cgroup id.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(1024, 0);

/// Addresses that policy allows.
#[map]
pub(crate) static ADDRESSES: LpmTrie<AddressKey, u32> = LpmTrie::with_max_entries(16384, 0);

/// Flow events.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Counters of each workload, see [`counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries((MAX_WORKLOADS * counter::COUNT) as u32, 0);

/// Scratch memory; more than one, because a program can be preempted by another.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(crate::scratch::COUNT, 0);
