//! `baton doctor`.
use crate::cli::Doctor;
pub(crate) fn run(_doctor: &Doctor) -> anyhow::Result<u8> {
    Ok(0)
}
