//! What baton's kernel side and user space share.
//!
//! Two kinds of things live here: types with a fixed layout that cross the
//! user/kernel boundary in maps and ring buffers, and the pure logic that
//! decides about bytes and contexts. The logic is compiled into BPF unchanged,
//! so it is written for the BPF verifier: no allocation, no panics, no
//! recursion, every loop bounded, every index masked.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(test)]
extern crate std;

pub mod attribution;
pub mod cgi;
pub mod flow;
pub mod framing;
pub mod head;
pub mod layout;
pub mod leave;
pub mod limits;
pub mod names;
pub mod policy;
pub mod reading;
pub mod runtime;
pub mod scan;
pub mod select;
pub mod skim;
pub mod socket;
pub mod status;
pub mod verifier;
pub mod words;
