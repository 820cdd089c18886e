//! End-to-end test harness: starts real, unmodified programs with and without baton,
//! drives them, and judges what arrives on the wire.

pub mod accuracy;
pub mod api_server;
pub mod app;
pub mod baton;
pub mod bpf;
pub mod browser;
pub mod byte_exactness;
pub mod cgroup;
pub mod cluster;
pub mod collector;
pub mod dashboard;
pub mod fastcgi;
pub mod flows;
pub mod fpm;
pub mod http;
pub mod load;
pub mod metrics;
pub mod namespace;
pub mod pins;
pub mod pods;
pub mod probe;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod recorder;
pub mod relay;
pub mod scratch;
pub mod servers;
pub mod shop;
pub mod terminal;
pub mod verdict;
pub mod wait;
pub mod wire;
