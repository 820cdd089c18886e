//! Brings up the loopback interface, with no program that a guest of another architecture could not run.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `lo` is the first interface of each network namespace (`register_pernet_device()` in drivers/net/loopback.c).
const INDEX: i32 = 1;

/// As `ip link set lo up`.
pub(super) fn bring_up() -> Result<()> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
        .context("failed to open a netlink socket")?;
    send(netlink.as_raw_fd(), &request(), MsgFlags::empty()).context("failed to ask for the loopback interface")?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).context("no answer of netlink")?;
    let code = error(&answer[..length]).context("netlink's answer is none to the request")?;
    ensure!(code == 0, "the loopback interface stays down: {}", std::io::Error::from_raw_os_error(-code));
    Ok(())
}

/// Sets the flag "up" (rtnetlink(7)): `struct nlmsghdr` and `struct ifinfomsg`.
fn request() -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let up = libc::IFF_UP as u32;
    let mut message = Vec::with_capacity(32);
    message.extend(32u32.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // number and sender of the message
    message.extend([0; 4]); // any family, any type
    message.extend(INDEX.to_ne_bytes());
    message.extend(up.to_ne_bytes()); // flags
    message.extend(up.to_ne_bytes()); // which of them are meant
    message
}

/// The code of a `struct nlmsgerr`, which is 0 or a negative number of an error (netlink(7)).
fn error(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_can_be_brought_up_by_netlink() {
        assert_eq!(request().len(), 32);
        // Where it is up already, the kernel is content, too; users who are not root may not ask.
        let brought_up = bring_up();
        assert!(brought_up.is_ok() || !nix::unistd::geteuid().is_root(), "{brought_up:?}");
    }

    #[test]
    fn answers_of_netlink_are_read() {
        let mut answer = vec![0u8; 36];
        answer[4..6].copy_from_slice(&2u16.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(error(&answer), Some(-1));
        assert_eq!(error(&answer[..16]), None);
    }
}
