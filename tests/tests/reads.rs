//! Reads that do not take, or do not return, what is in the connection.

use anyhow::{Result, ensure};
use baton_tests::app::Launch;
use baton_tests::baton::Exec;
use baton_tests::probe::Probe;
use baton_tests::recorder::Recorder;
use baton_tests::relay;

#[test]
fn a_head_that_is_peeked_at_first_counts_once() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::peeking(&recorder.url(), false)?.start(&Launch::Exec(&Exec::default()))?;
    let mut probe = Probe::kept(app.address(), &recorder);
    for value in [Some("one"), None, Some("two")] {
        let request = probe.relay(value)?;
        ensure!(request.carried()? == value, "{:?} instead of {value:?}", request.carried()?);
    }
    Ok(())
}

#[test]
fn what_is_in_the_buffer_of_a_discarding_read_is_not_a_request() -> Result<()> {
    let recorder = Recorder::echoing_targets()?;
    let app = relay::peeking(&recorder.url(), true)?.start(&Launch::Exec(&Exec::default()))?;
    for mut probe in [Probe::kept(app.address(), &recorder), Probe::fresh(app.address(), &recorder)] {
        for value in ["one", "two"] {
            let request = probe.relay(Some(value))?;
            ensure!(request.carried()?.is_none_or(|carried| carried == value), "{:?}", request.head);
        }
    }
    Ok(())
}
