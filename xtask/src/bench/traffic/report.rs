//! The result as Markdown.

use super::Cycle;
use super::exchange::Exchange;
use super::stage::Side;
use crate::bench::spread::Spread;
use crate::machine::Machine;

pub(super) fn markdown(cycles: &[Cycle]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        Machine::here().line(),
        "Medians; in parentheses the 95 % interval of the median. Ratios are taken cycle by cycle.".to_owned(),
    ];
    for (index, exchange) in Exchange::ALL.into_iter().enumerate() {
        lines.extend([
            String::new(),
            format!("| {} | {} | of that without baton | to reach |", exchange.title(), exchange.unit()),
            "|---|---:|---:|---:|".to_owned(),
        ]);
        let sides = Side::ALL.into_iter().enumerate();
        lines.extend(sides.filter_map(|(side, name)| {
            let speed = Spread::of(cycles.iter().map(|cycle| cycle[index][side]))?;
            let ratio = Spread::of(cycles.iter().map(|cycle| cycle[index][side] / cycle[index][0]))?;
            Some(match exchange.target(name) {
                None => format!("| {} | {:.0} | | |", name.name(), speed.median),
                Some(target) => format!("| {} | {:.0} | {ratio:.3} | {target} |", name.name(), speed.median),
            })
        }));
    }
    lines
}
