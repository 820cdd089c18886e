//! `cargo xtask bench traffic`: what baton costs traffic that it has nothing to add to: a protocol that is not HTTP, and
//! large bodies.

mod exchange;
mod report;
mod stage;

use anyhow::{Result, bail};

use super::programs::Tools;
use crate::scratch::Scratch;
use crate::setup::Purpose;
use crate::{document, say, workspace};
use exchange::Exchange;
use stage::{Side, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each side of each exchange is measured
    #[arg(long, default_value_t = 20)]
    cycles: usize,
    /// Put the result into docs/BENCHMARKS.md
    #[arg(long)]
    record: bool,
}

/// What one cycle measured: a speed for each side of each exchange, in the exchange's unit.
type Cycle = [[f64; Side::ALL.len()]; Exchange::ALL.len()];

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cycles == 0 {
        bail!("nothing to measure: --cycles must be at least 1");
    }
    let baton = super::build(Purpose::Traffic)?;
    let scratch = Scratch::new("traffic")?;
    let tools = Tools::usual(&scratch);
    let stage = Stage::new(&tools, &baton)?;
    // The first exchanges fill caches, and a file that is sent.
    measure(&stage, false)?;
    let mut cycles = Vec::new();
    for number in 0..arguments.cycles {
        say::step(&format!("cycle {} of {}", number + 1, arguments.cycles));
        cycles.push(measure(&stage, number % 2 == 1)?);
    }
    let lines = report::markdown(&cycles);
    for line in &lines {
        say::result(line);
    }
    if arguments.record {
        document::record(&workspace::root().join("docs/BENCHMARKS.md"), "traffic", &lines)?;
    }
    Ok(())
}

/// All sides of all exchanges; those with baton come first if so wished.
fn measure(stage: &Stage<'_>, is_swapped: bool) -> Result<Cycle> {
    let mut cycle = Cycle::default();
    for with_baton in [is_swapped, !is_swapped] {
        let _daemon = if with_baton { Some(stage.daemon()?) } else { None };
        for (row, exchange) in cycle.iter_mut().zip(Exchange::ALL) {
            for (speed, side) in row.iter_mut().zip(Side::ALL) {
                if side.has_baton() == with_baton {
                    *speed = exchange.run(stage, side)?;
                }
            }
        }
    }
    Ok(cycle)
}
