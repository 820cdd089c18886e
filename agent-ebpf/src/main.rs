//! baton's kernel side. The modules follow a request's way:
//!
//! `enrol` gives sockets a state → `inbound` reads request heads and watches
//! for their responses → `context` knows which executor runs for which request
//! → `outbound` inserts the lines → `flow` tells user space.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "BPF atomics are only to be had as intrinsics, see atomic.rs")]
#![expect(unsafe_code, reason = "BPF programs work on raw kernel memory")]

mod atomic;
mod clock;
mod context;
mod enrol;
mod flow;
mod inbound;
mod kernel;
mod leave;
mod log;
mod maps;
mod outbound;
mod policy;
mod scratch;
mod source;
mod twins;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used are for GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
