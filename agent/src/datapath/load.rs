//! Loads the kernel side and holds it. Nothing is pinned but what `pins.rs` asks
//! for: when the last holder ends, the kernel removes all of it.

use anyhow::{Context as _, anyhow};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf, SkStorage, SockHash};
use aya::programs::{BtfTracePoint, CgroupSkb, SkMsg, SkSkb, SockOps};
use aya::util::nr_cpus;
use aya::{Btf, Ebpf, EbpfLoader};
use baton_common::attribution::Claim;
use baton_common::names::Names;
use baton_common::policy::{Settings, Workload};
use baton_common::runtime::{Object, Python};
use baton_common::socket::Socket;

use super::gate::Gate;
use super::hook::ReadHook;
use super::messages::Messages;
use super::pins::Pins;
use super::pod::Raw;
use super::uprobe::Uprobes;
use super::{bpf, clock, layout, messages, probe, program, twins};
use crate::control::plan::Plan;
use crate::failure::{Failure, chain};

/// The object that `build.rs` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/baton-ebpf"));

/// The tracepoints with types that are always attached, in this order; a [`ReadHook`] comes last.
const TRACEPOINTS: [&str; 4] =
    ["sched_process_exit", "sched_process_fork", "sched_process_exec", "inet_sock_set_state"];

/// The other programs that are always loaded.
const LOADED: [&str; 6] = [
    "sock_ops_enrol",
    "cgroup_skb_leave",
    "sk_msg_write",
    "iter_tcp_leave",
    "iter_sockmap_leave",
    "socket_filter_freeze",
];

/// Those between the SOCKHASH and `sk_msg_write` where it is pinned.
const PINNED: [&str; 2] = ["sk_msg_door", "sk_msg_gate"];

/// What is chosen before loading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Context slots; one for each accepted connection.
    pub(crate) contexts: u32,
    /// Longest time that a context is current.
    pub(crate) max_age: std::time::Duration,
    /// The hook that must be used.
    pub(crate) hook: Option<ReadHook>,
}

impl Options {
    /// What `plan` asks for.
    pub(crate) const fn of(plan: &Plan) -> Self {
        Self { contexts: plan.contexts, max_age: plan.max_age, hook: plan.hook }
    }
}

/// The loaded kernel side.
#[derive(Debug)]
pub(crate) struct Datapath {
    /// Where the SOCKHASH is pinned. The first to go.
    gate: Option<Gate>,
    pub(super) ebpf: Ebpf,
    pub(super) uprobes: Uprobes,
    options: Options,
    /// Whether programs that can be left out are there four times.
    has_twins: bool,
    /// What sees reads, once it is attached.
    pub(super) hook: Option<ReadHook>,
    cure: bool,
    /// Whether what was read already is cut off where received data changes queues.
    cut: bool,
    epoch: u32,
    events: u32,
    /// The last to go.
    pins: Option<Pins>,
}

impl Datapath {
    /// Loads all programs and attaches those that are not a workload's.
    ///
    /// # Errors
    /// A [`Failure`] if the kernel lacks something, else what the kernel said.
    pub(crate) fn load(options: Options, names: &Names) -> anyhow::Result<Self> {
        Self::load_with(options, names, None)
    }

    /// The same, with a SOCKHASH that outlives this process: the one that is there
    /// already, or a new one.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_pinned(options: Options, names: &Names, pins: Pins) -> anyhow::Result<Self> {
        Self::load_with(options, names, Some(pins))
    }

    fn load_with(options: Options, names: &Names, pins: Option<Pins>) -> anyhow::Result<Self> {
        // Reading the kernel's types takes a while in either way: at once.
        let (offsets, btf) = std::thread::scope(|scope| {
            let btf = scope.spawn(Btf::from_sys_fs);
            (layout::resolve(), btf.join())
        });
        let offsets = Raw(offsets?);
        let btf = btf.map_err(|_| anyhow!("reading the kernel's types panicked"))?;
        let btf = btf.map_err(|error| Failure::NoBtf(error.to_string()))?;
        let has_twins = twins::are_needed();
        let twins = u32::from(has_twins);
        let log_level = messages::level();
        let mut loader = EbpfLoader::new();
        for (map, path) in pins.iter().flat_map(Pins::maps) {
            loader.map_pin_path(map, path);
        }
        let ebpf = loader
            .btf(Some(&btf))
            .override_global("LAYOUT", &offsets, true)
            .override_global("TWINS", &twins, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("AYA_LOGS", messages::room(log_level))
            .map_max_entries("CONTEXTS", options.contexts)
            .map_max_entries("FREE_SLOTS", options.contexts)
            .load(OBJECT)
            .map_err(|error| Failure::KernelLacks(format!("it refuses baton's maps: {}", chain(&error))))?;
        let uprobes = Uprobes::prepare(OBJECT, &ebpf)?;
        let mut datapath = Self {
            gate: None,
            ebpf,
            uprobes,
            options,
            has_twins,
            hook: None,
            cure: false,
            cut: false,
            epoch: 0,
            events: 0,
            pins,
        };
        datapath.set_names(names)?;
        datapath.set_first_id()?;
        datapath.load_programs(&btf)?;
        give_memory_back();
        Ok(datapath)
    }

    /// What reads the kernel side's own messages. To be taken once, in the daemon's event loop.
    ///
    /// # Errors
    /// If the kernel does not let them be read.
    pub(crate) fn take_messages(&mut self) -> anyhow::Result<Messages> {
        Messages::take(&mut self.ebpf)
    }

    fn load_programs(&mut self, btf: &Btf) -> anyhow::Result<()> {
        let members = self.members()?.fd().try_clone().context("failed to copy the map's descriptor")?;
        // The kernel looks at each program for up to a quarter of a second: at all of them at once.
        let is_pinned = self.is_pinned();
        let hook = self.choose_hook(self.options.hook, btf)?;
        let pinned = if is_pinned { &PINNED[..] } else { &[] };
        let needed = self.with_twins(&[&LOADED[..], &TRACEPOINTS, hook.programs(), pinned].concat());
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let all = self.ebpf.programs_mut().filter(|(name, _)| needed.iter().any(|needed| needed == name));
            let loading: Vec<_> =
                all.map(|(name, program)| scope.spawn(|| program::load(name, program, btf))).collect();
            let loaded = loading.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("loading panicked"))?);
            loaded.collect()
        })?;
        let writes = if is_pinned { "sk_msg_door" } else { "sk_msg_write" };
        self.program::<SkMsg>(writes)?
            .attach(&members)
            .with_context(|| format!("failed to attach {writes} to the SOCKHASH"))?;
        tracing::info!(
            kernel = probe::kernel_version(),
            writes,
            reads = hook.name(),
            pinned = is_pinned,
            "programs loaded"
        );
        for name in self.with_twins(&TRACEPOINTS) {
            let program: &mut BtfTracePoint = self.program(&name)?;
            program.attach().with_context(|| format!("failed to attach to the tracepoint {name}"))?;
        }
        self.attach_hook(hook)?;
        if is_pinned {
            self.gate = Some(Gate::open(self)?);
        }
        Ok(())
    }

    /// Lets what members receive pass through the sockmap's own queue from now on.
    pub(crate) fn cure(&mut self) -> anyhow::Result<()> {
        let members = self.members()?.fd().try_clone().context("failed to copy the map's descriptor")?;
        let sk_skb: &mut SkSkb = self.program("sk_skb_pass")?;
        sk_skb.load().map_err(|error| program::refused("sk_skb_pass", &chain(&error)))?;
        sk_skb.attach(&members).context("failed to attach sk_skb_pass to the SOCKHASH")?;
        self.cure = true;
        self.set_settings()
    }

    /// Whether the SOCKHASH has the cure from an earlier baton.
    pub(super) fn has_cure(&mut self) -> anyhow::Result<bool> {
        if !self.is_pinned() {
            return Ok(false);
        }
        bpf::has_stream_verdict(self.members()?.fd()).context("failed to ask for the SOCKHASH's programs")
    }

    /// Whether the SOCKHASH outlives this process.
    pub(crate) const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Whether [`Self::cure`] was used.
    pub(crate) const fn is_cured(&self) -> bool {
        self.cure
    }

    /// Context slots that there are.
    pub(super) const fn slot_count(&self) -> u32 {
        self.options.contexts
    }

    /// Whether sockets may become members, with the cure, while they are in use.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Notes what the self-test has found.
    pub(super) const fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Sees nothing any more: no reads, no answers, no threads.
    pub(crate) fn detach_tracepoints(&mut self) {
        self.detach_hook();
        for name in self.with_twins(&TRACEPOINTS) {
            // One that is not there is detached.
            let _ = self.program::<BtfTracePoint>(&name).map(BtfTracePoint::unload);
        }
    }

    /// The names of programs, and of their twins where there are any.
    pub(super) fn with_twins(&self, programs: &[&str]) -> Vec<String> {
        programs.iter().flat_map(|name| twins::with_twins(name, self.has_twins)).collect()
    }

    pub(super) fn program<'a, P>(&'a mut self, name: &str) -> anyhow::Result<&'a mut P>
    where
        &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
    {
        let program = self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// The `sock_ops` program, to be attached to workloads.
    pub(crate) fn sock_ops(&mut self) -> anyhow::Result<&mut SockOps> {
        self.program("sock_ops_enrol")
    }

    /// The program that sees packets leave, to be attached to workloads.
    pub(crate) fn cgroup_skb(&mut self) -> anyhow::Result<&mut CgroupSkb> {
        self.program("cgroup_skb_leave")
    }

    fn map_array<T>(&mut self, name: &str) -> anyhow::Result<Array<&mut MapData, Raw<T>>>
    where
        Raw<T>: aya::Pod,
    {
        let map = self.ebpf.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
        Ok(Array::try_from(map)?)
    }

    /// The map `name`, as `M`.
    pub(crate) fn map<'a, M>(&'a mut self, name: &str) -> anyhow::Result<M>
    where
        M: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
        Ok(M::try_from(map)?)
    }

    /// The connected sockets.
    pub(crate) fn members(&mut self) -> anyhow::Result<SockHash<&mut MapData, u64>> {
        self.map("MEMBERS")
    }

    /// The state of all enrolled sockets.
    pub(crate) fn sockets(&mut self) -> anyhow::Result<SkStorage<&mut MapData, Raw<Socket>>> {
        self.map("SOCKETS")
    }

    /// The workloads' indices by cgroup id.
    pub(crate) fn cgroups(&mut self) -> anyhow::Result<HashMap<&mut MapData, u64, u32>> {
        self.map("CGROUPS")
    }

    /// Sets a workload's settings.
    pub(crate) fn set_workload(&mut self, index: u32, workload: Workload) -> anyhow::Result<()> {
        Ok(self.map_array::<Workload>("WORKLOADS")?.set(index, Raw(workload), 0)?)
    }

    /// Number of the header name table in use.
    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Sets the header names to carry. What was read before is void.
    pub(crate) fn set_names(&mut self, names: &Names) -> anyhow::Result<()> {
        self.map_array::<Names>("NAMES")?.set(0, Raw(*names), 0).context("failed to set the header names")?;
        let folded = names.folded().map_err(|refused| anyhow!("the header names do not fit: {refused:?}"))?;
        self.map_array::<Names>("FOLDED_NAMES")?.set(0, Raw(folded), 0).context("failed to set the folded names")?;
        self.epoch += 1;
        self.set_settings()
    }

    fn set_first_id(&mut self) -> anyhow::Result<()> {
        let first = PerCpuValues::try_from(vec![clock::first_id(); nr_cpus().map_err(|(_, error)| error)?])?;
        let mut next: PerCpuArray<&mut MapData, u64> = self.map("NEXT_ID")?;
        next.set(0, first, 0).context("failed to set where the contexts' numbers begin")
    }

    /// Lets the kernel side send at most so many flow events of a workload in one second on one processor; none, with 0.
    pub(crate) fn want_events(&mut self, most: u32) -> anyhow::Result<()> {
        if self.events == most {
            return Ok(());
        }
        self.events = most;
        self.set_settings()
    }

    fn set_settings(&mut self) -> anyhow::Result<()> {
        let settings = Settings {
            max_age: clock::ticks(self.options.max_age)?,
            events: self.events,
            slots: self.options.contexts,
            cure: u32::from(self.cure),
            epoch: self.epoch,
        };
        Ok(self.map_array::<Settings>("SETTINGS")?.set(0, Raw(settings), 0)?)
    }

    /// Takes the map `name` out.
    pub(super) fn take(&mut self, name: &str) -> anyhow::Result<Map> {
        self.ebpf.take_map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// Takes the flow events' ring buffer out.
    pub(crate) fn take_events(&mut self) -> anyhow::Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map("EVENTS").ok_or_else(|| anyhow!("the flow events are read already"))?;
        Ok(RingBuf::try_from(map)?)
    }

    /// Takes the ring buffer out in which the kernel side tells of processes.
    pub(crate) fn take_notices(&mut self) -> anyhow::Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map("NOTICES").ok_or_else(|| anyhow!("the news of processes is read already"))?;
        Ok(RingBuf::try_from(map)?)
    }

    /// The runtimes of processes.
    pub(crate) fn runtimes(&mut self) -> anyhow::Result<HashMap<&mut MapData, u32, u32>> {
        self.map("RUNTIMES")
    }

    /// Where the Python interpreters of processes keep what is looked up.
    pub(crate) fn pythons(&mut self) -> anyhow::Result<HashMap<&mut MapData, u32, Raw<Python>>> {
        self.map("PYTHONS")
    }

    /// What each thread runs for.
    pub(crate) fn executors(&mut self) -> anyhow::Result<HashMap<&mut MapData, u32, Raw<Claim>>> {
        self.map("EXECUTORS")
    }

    /// Removes what is known of the light threads of process `id`.
    pub(crate) fn forget_tasks(&mut self, id: u32) -> anyhow::Result<()> {
        fn clear<V: aya::Pod>(mut map: HashMap<&mut MapData, Raw<Object>, V>, id: u32) {
            let own: Vec<_> = map.keys().flatten().filter(|Raw(object)| object.tgid == u64::from(id)).collect();
            for object in own {
                let _ = map.remove(&object);
            }
        }
        clear::<Raw<Claim>>(self.map("TASKS")?, id);
        clear::<Raw<Claim>>(self.map("GO_CONNECTIONS")?, id);
        Ok(())
    }
}

/// Reading the kernel's types takes tens of megabytes for a moment, which the C
/// library would keep.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "malloc_trim")]
    // SAFETY: gives back what is free, and touches nothing else.
    unsafe {
        libc::malloc_trim(0);
    }
}
