//! Before anything is attached to a workload: does a socket in the SOCKHASH
//! behave like any other, and does what is inserted arrive?
//!
//! Some kernels (6.18.14 and later, 6.12.75 and later before the fix, 6.6.128
//! and later) answer FIONREAD with 0 for members, which stalls nginx, Java and
//! .NET. Passing received data through the sockmap's own queue cures it on 6.12
//! and later.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::Array;
use baton_common::attribution::{Claim, Context, state};
use baton_common::flow::Reason;
use baton_common::head::IN_REQUEST;
use baton_common::policy::{AddressKey, EGRESS, KEY_BITS, Workload, mapped};
use baton_common::socket::{Socket, role};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::load::Datapath;
use super::pod::Raw;
use super::rewind::rewind;
use super::tcp;
use super::workload::{SELF_TEST, addresses};
use crate::failure::Failure;

/// How long something may take that takes no time where all is well.
const LIMIT: Duration = Duration::from_millis(1000);

/// How long FIONREAD may show less than what can be read.
const GRACE: Duration = Duration::from_millis(20);

/// Slot and id of the self-test's own context.
const SLOT: u32 = 0;
const ID: u64 = 1;

/// The self-test is switched on once.
const GENERATION: u32 = 1;

/// What the self-test found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Members behave like other sockets.
    Good,
    /// They do where received data passes through the sockmap's own queue.
    Cured,
}

/// Tests members, with the cure if they need it.
///
/// # Errors
/// [`Failure::SelfTest`] says what does not behave.
pub(crate) fn choose(datapath: &mut Datapath) -> anyhow::Result<Finding> {
    let start = Instant::now();
    let found = examine(datapath).map_err(|error| match error.downcast::<Failure>() {
        Ok(failure) => failure.into(),
        Err(error) => Failure::SelfTest(format!("it could not be done: {error:#}")).into(),
    });
    tracing::info!(?found, took = ?start.elapsed(), "self-test");
    found
}

fn examine(datapath: &mut Datapath) -> anyhow::Result<Finding> {
    // Inserted lines must arrive whatever the receiving side needs.
    let members = inserts(datapath);
    clear(datapath)?;
    members?;
    // Members that an earlier baton has left have the cure.
    if datapath.has_cure()? {
        datapath.cure()?;
        return receives_with_cure(datapath);
    }
    if receives(datapath).is_ok() {
        return Ok(Finding::Good);
    }
    datapath.cure().map_err(|error| {
        Failure::SelfTest(format!("FIONREAD of members is 0, and the cure for it is refused: {error:#}"))
    })?;
    receives_with_cure(datapath)
}

fn receives_with_cure(datapath: &mut Datapath) -> anyhow::Result<Finding> {
    receives(datapath)?;
    receives_once(datapath)?;
    if let Err(error) = joins_late(datapath) {
        tracing::warn!(error = format!("{error:#}"), "connections that are open already cannot be taken in");
        datapath.set_cut(false);
    } else {
        datapath.set_cut(true);
    }
    Ok(Finding::Cured)
}

/// What the peer sends again, together with more, while it waits to be read: the sockmap's own queue takes whole packets.
fn receives_once(datapath: &mut Datapath) -> anyhow::Result<()> {
    const FIRST: usize = 2000;
    const BACK: usize = 700;
    let text = pattern(5000);
    let mut pair = Pair::new(datapath)?;
    pair.peer.write_all(&text[..FIRST])?;
    wait_for_all(&pair.member, FIRST)?;
    pair.peer = rewind(pair.peer, u32::try_from(BACK)?).context("failed to send bytes again (TCP_REPAIR)")?;
    pair.peer.write_all(&text[FIRST - BACK..])?;
    let mut received = vec![0; text.len()];
    pair.member.read_exact(&mut received).context("reading what was sent again, and what came next")?;
    let more = tcp::unread(&pair.member);
    pair.leave(datapath)?;
    if received != text || more != Some(0) {
        return Err(Failure::SelfTest("a member received bytes twice that were sent twice".to_owned()).into());
    }
    Ok(())
}

/// Bytes without a short period.
fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect()
}

/// A socket of which a packet was read in part when it became a member.
fn joins_late(datapath: &mut Datapath) -> anyhow::Result<()> {
    let mut pair = Pair::connect()?;
    let text = pattern(20_000);
    let mut received = vec![0; text.len()];
    // More than is cut off at once.
    let (first, rest) = received.split_at_mut(10_001);
    pair.peer.write_all(&text)?;
    pair.member.read_exact(first)?;
    pair.join(datapath)?;
    pair.member.read_exact(rest).context("reading the rest")?;
    let end = pair.peer.write_all(b"x").and_then(|()| pair.member.read_exact(&mut [0]));
    pair.leave(datapath)?;
    end.context("reading what came later")?;
    anyhow::ensure!(received == text, "it received other bytes than were sent");
    Ok(())
}

/// A connection over loopback, of which the first end is a member.
struct Pair {
    member: TcpStream,
    peer: TcpStream,
    cookie: u64,
}

impl Pair {
    fn new(datapath: &mut Datapath) -> anyhow::Result<Self> {
        let pair = Self::connect()?;
        pair.join(datapath)?;
        Ok(pair)
    }

    fn connect() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("failed to listen on 127.0.0.1")?;
        let member = TcpStream::connect(listener.local_addr()?).context("failed to connect to 127.0.0.1")?;
        let (peer, _) = listener.accept()?;
        for end in [&member, &peer] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(LIMIT))?;
        }
        let cookie = tcp::cookie(&member).context("failed to read a socket's cookie")?;
        Ok(Self { member, peer, cookie })
    }

    fn join(&self, datapath: &mut Datapath) -> anyhow::Result<()> {
        let mut members = datapath.members()?;
        members.insert(self.cookie, self.member.as_raw_fd(), 0).context("failed to put a socket into the SOCKHASH")
    }

    fn leave(self, datapath: &mut Datapath) -> anyhow::Result<()> {
        Ok(datapath.members()?.remove(&self.cookie)?)
    }
}

/// Blocking reads, FIONREAD and epoll edges on a member.
fn receives(datapath: &mut Datapath) -> anyhow::Result<()> {
    let mut pair = Pair::new(datapath)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&pair.member, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    for text in [&b"first"[..], b"the second", &[b'x'; 9000]] {
        pair.peer.write_all(text)?;
        let mut events = [EpollEvent::empty()];
        let limit = u16::try_from(LIMIT.as_millis()).unwrap_or(u16::MAX);
        if epoll.wait(&mut events, limit)? != 1 {
            return Err(Failure::SelfTest("epoll does not tell that a member has received data".to_owned()).into());
        }
        wait_for_all(&pair.member, text.len())?;
        let mut received = vec![0; text.len()];
        pair.member
            .read_exact(&mut received)
            .map_err(|error| Failure::SelfTest(format!("reading from a member: {error}")))?;
        if received != text {
            return Err(Failure::SelfTest("a member received other bytes than were sent".to_owned()).into());
        }
    }
    blocking(&mut pair)?;
    pair.leave(datapath)
}

/// FIONREAD must show all that was sent, as soon as it could be read.
fn wait_for_all(member: &TcpStream, len: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut bytes = vec![0; len];
    let mut is_here = None;
    loop {
        let shown = tcp::unread(member).unwrap_or(0);
        if usize::try_from(shown) == Ok(len) {
            return Ok(());
        }
        if is_here.is_none() && member.peek(&mut bytes).is_ok_and(|peeked| peeked == len) {
            is_here = Some(Instant::now());
        }
        if is_here.is_some_and(|since: Instant| since.elapsed() > GRACE) || begun.elapsed() > LIMIT / 4 {
            return Err(Failure::SelfTest(format!("FIONREAD of a member is {shown} where {len} bytes wait")).into());
        }
        std::thread::yield_now();
    }
}

/// A blocking read that is there before the data.
fn blocking(pair: &mut Pair) -> anyhow::Result<()> {
    let mut byte = [0];
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| (&pair.member).read(&mut byte));
        let sent = (&pair.peer).write_all(b"x");
        (sent, reader.join())
    });
    match read {
        (Ok(()), Ok(Ok(1))) => Ok(()),
        (_, Ok(Err(error))) => Err(Failure::SelfTest(format!("a blocking read from a member: {error}")).into()),
        _ => Err(Failure::SelfTest("a blocking read from a member ended early".to_owned()).into()),
    }
}

/// A request head on a member gets a line, and is otherwise the same.
fn inserts(datapath: &mut Datapath) -> anyhow::Result<()> {
    const HEAD: &[u8] = b"POST /self-test HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    const BODY: &[u8] = b"body";
    const LINE: &[u8] = b"x-baton-self-test: 1\r\n";
    let mut pair = Pair::new(datapath)?;
    pretend(datapath, &pair, LINE)?;
    pair.member.write_all(&[HEAD, BODY].concat())?;
    let (before, blank) = HEAD.split_at(HEAD.len() - 2);
    let expected = [before, LINE, blank, BODY].concat();
    let mut arrived = vec![0; expected.len()];
    let read = pair.peer.read_exact(&mut arrived);
    let counters = datapath.counters(SELF_TEST)?;
    pair.leave(datapath)?;
    if read.is_err() || arrived != expected {
        let lost = Reason::ALL.iter().find(|reason| counters.lost(**reason) > 0);
        let why = lost.map_or_else(String::new, |reason| format!(" ({})", reason.name()));
        return Err(Failure::SelfTest(format!("an inserted header line did not arrive as it should{why}")).into());
    }
    Ok(())
}

/// Gives the member the state that a workload's connection has in the middle
/// of a request.
fn pretend(datapath: &mut Datapath, pair: &Pair, line: &[u8]) -> anyhow::Result<()> {
    datapath.set_workload(
        SELF_TEST,
        Workload { names: u64::MAX, enabled: 1, generation: GENERATION, ..Workload::default() },
    )?;
    let loopback = mapped([127, 0, 0, 1]);
    let key = AddressKey { workload: SELF_TEST as u16, direction: EGRESS, address: loopback };
    addresses(datapath)?.insert(&aya::maps::lpm_trie::Key::new(KEY_BITS + 128, Raw(key)), 1, 0)?;
    let mut context = Context {
        id: ID,
        have: 1,
        // In the future: it does not grow old.
        since: u64::MAX,
        workload: SELF_TEST,
        generation: GENERATION,
        epoch: datapath.epoch(),
        state: state::LIVE,
        lines_len: u32::try_from(line.len())?,
        line_count: 1,
        ..Context::default()
    };
    for (index, bytes) in line.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        context.lines.text.put(u32::try_from(index * 8)?, u64::from_le_bytes(word));
    }
    context.lines.ends[0] = u16::try_from(line.len())?;
    let mut contexts: Array<_, Raw<Context>> = datapath.map("CONTEXTS")?;
    contexts.set(SLOT, Raw(context), 0)?;
    let claim = Claim::own(ID, SLOT, std::process::id());
    let mut socket = Socket {
        cookie: pair.cookie,
        role: role::CONNECTED,
        workload: SELF_TEST,
        generation: GENERATION,
        peer: loopback,
        connect: claim,
        ..Socket::default()
    };
    socket.peer_port = pair.member.peer_addr()?.port();
    socket.request.flags = IN_REQUEST;
    socket.flags = baton_common::socket::flag::ADOPTED;
    socket.mark = tcp::info(&pair.member).context("failed to look at a socket")?.written();
    datapath.sockets()?.insert(&pair.member, Raw(socket), 0).context("failed to set a socket's state")
}

/// Takes back what [`pretend`] did.
fn clear(datapath: &mut Datapath) -> anyhow::Result<()> {
    datapath.set_workload(SELF_TEST, Workload::default())?;
    let key = AddressKey { workload: SELF_TEST as u16, direction: EGRESS, address: mapped([127, 0, 0, 1]) };
    let _ = addresses(datapath)?.remove(&aya::maps::lpm_trie::Key::new(KEY_BITS + 128, Raw(key)));
    let mut contexts: Array<_, Raw<Context>> = datapath.map("CONTEXTS")?;
    Ok(contexts.set(SLOT, Raw(Context::default()), 0)?)
}
