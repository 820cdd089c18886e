//! What users of other systems suffered (PEERS.md), each as a regression test.

mod integrity;
mod isolation;
mod lifetime;
