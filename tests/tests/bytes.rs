//! With baton on, everything that arrives equals what arrives without it, except for whole inserted lines in HTTP/1 heads.
//!
//! Each test is a case of `apps/python/wire_*.py`: it runs in the handler of an inbound request that carries headers.

use anyhow::Result;
use baton_tests::app::Launch;
use baton_tests::baton::Exec;
use baton_tests::byte_exactness::Case;
use baton_tests::byte_exactness::Inserts::{AtMost, Exactly};
use baton_tests::programs::{command, succeed};
use baton_tests::servers;
use baton_tests::wire::Script;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const TUNNEL: &[u8] = b"HTTP/1.1 200 Connected\r\n\r\n";

/// Answers each head.
fn heads() -> Script {
    Script::silent().after(b"\r\n\r\n", OK).repeat()
}

/// Answers each end mark, with which the cases end their bodies.
fn bodies() -> Script {
    Script::silent().after(b"<END>", OK).repeat()
}

#[test]
fn keep_alive() -> Result<()> {
    Case::new("keep_alive", heads(), Exactly(20)).check()
}

#[test]
fn bodies_from_1_byte_to_5_megabytes() -> Result<()> {
    Case::new("bodies", bodies(), Exactly(22)).check()
}

#[test]
fn bodies_that_look_like_requests() -> Result<()> {
    Case::new("decoy_body", bodies(), Exactly(2)).check()
}

#[test]
fn chunked_uploads() -> Result<()> {
    Case::new("chunked", bodies(), Exactly(1)).check()
}

#[test]
fn expect_continue() -> Result<()> {
    Case::new("expect_continue", Script::silent().after(b"\r\n\r\n", CONTINUE).after(b"<END>", OK), Exactly(1)).check()
}

#[test]
fn half_close() -> Result<()> {
    Case::new("half_close", heads(), Exactly(1)).check()
}

#[test]
fn reset() -> Result<()> {
    Case::new("reset", bodies(), Exactly(1)).check()
}

#[test]
fn pipelined_requests() -> Result<()> {
    Case::new("pipelined", heads(), AtMost(6)).check()
}

#[test]
fn http_1_0() -> Result<()> {
    Case::new("http_1_0", heads(), Exactly(1)).check()
}

#[test]
fn absolute_form() -> Result<()> {
    Case::new("absolute_form", heads(), Exactly(1)).check()
}

#[test]
fn almost_http() -> Result<()> {
    Case::new("not_http", Script::silent(), Exactly(0)).connections(7).check()
}

#[test]
fn connect_and_what_goes_through_the_tunnel() -> Result<()> {
    Case::new("connect", Script::silent().after(b"\r\n\r\n", TUNNEL).after(b"<END>", OK), AtMost(1)).check()
}

#[test]
fn websocket_upgrade_and_frames() -> Result<()> {
    Case::new("websocket", Script::silent().after(b"\r\n\r\n", SWITCHED).after(b"<END>", OK), Exactly(1)).check()
}

#[test]
fn large_heads() -> Result<()> {
    Case::new("large_heads", heads(), Exactly(10)).check()
}

#[test]
fn writev_and_sendmsg() -> Result<()> {
    Case::new("writev", bodies(), Exactly(2)).check()
}

#[test]
fn sendfile_of_the_body() -> Result<()> {
    Case::new("sendfile_body", bodies(), Exactly(1)).check()
}

#[test]
fn sendfile_of_head_and_body() -> Result<()> {
    Case::new("sendfile_all", bodies(), AtMost(1)).check()
}

#[test]
fn small_send_buffer() -> Result<()> {
    Case::new("small_send_buffer", bodies().slow(), AtMost(3)).check()
}

#[test]
fn non_blocking_partial_sends() -> Result<()> {
    Case::new("nonblocking", bodies().slow(), AtMost(30)).check()
}

#[test]
fn msg_more_and_tcp_cork() -> Result<()> {
    Case::new("more_to_come", bodies(), AtMost(2)).check()
}

#[test]
fn nagle() -> Result<()> {
    Case::new("nagle", bodies(), AtMost(5)).check()
}

#[test]
fn bytes_to_read_are_counted_by_fionread() -> Result<()> {
    Case::new("fionread", heads(), Exactly(3)).check()
}

#[test]
fn a_head_sent_by_a_thread_that_the_handler_started() -> Result<()> {
    Case::new("by_another_thread", heads(), Exactly(0)).check()?;
    Case::new("by_another_thread", heads(), Exactly(1)).balanced().check()
}

#[test]
fn a_head_sent_by_a_forked_child() -> Result<()> {
    Case::new("by_a_child_process", heads(), Exactly(0)).check()?;
    Case::new("by_a_child_process", heads(), AtMost(1)).balanced().check()
}

#[test]
fn a_text_protocol() -> Result<()> {
    let script = Script::silent().after(b"HELO a\r\n", b"220 ready\r\n").after(b"<END>", OK);
    Case::new("text_protocol", script, Exactly(0)).check()
}

#[test]
fn redis() -> Result<()> {
    let server = servers::redis()?.start(&Launch::Plain)?;
    Case::new("redis", Script::forward(server.address()), Exactly(0)).check()?;
    Case::new("redis_cli", Script::forward(server.address()), Exactly(0)).check()
}

#[test]
fn postgresql() -> Result<()> {
    let server = servers::postgres()?;
    Case::new("psql", Script::forward(server.address()), Exactly(0)).check()
}

#[test]
fn redis_server_as_the_workload() -> Result<()> {
    let server = servers::redis()?.start(&Launch::under_test(&Exec::default()))?;
    let mut benchmark = command("redis-benchmark")?;
    benchmark.args(["-p", &server.address().port().to_string()]);
    benchmark.args(["-n", "20000", "-c", "20", "-P", "4", "-d", "3000", "-t", "set,get,lrange_100", "--csv"]);
    succeed(benchmark, "redis-benchmark")?;
    Ok(())
}
