//! The comparison as a picture: the throughput that is left, program by program.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use super::contest::Contender;
use super::report::{Outcome, Report};

const SIZE: (u32, u32) = (900, 420);

/// Those that are shown, with their colours, which are told apart without red and green, too.
const SHOWN: [(Contender, RGBColor); 6] = [
    (Contender::Code, RGBColor(150, 150, 150)),
    (Contender::Baton, RGBColor(0, 114, 178)),
    (Contender::OpenTelemetry, RGBColor(230, 159, 0)),
    (Contender::OpenTelemetryExporting, RGBColor(213, 94, 0)),
    (Contender::Haproxy, RGBColor(204, 121, 167)),
    (Contender::Envoy, RGBColor(0, 158, 115)),
];

/// Draws the contests with more than two contenders.
pub(super) fn write(report: &Report, file: &Path) -> Result<()> {
    let contests: Vec<&Outcome> = report.contests.iter().filter(|contest| contest.rows.len() > 2).collect();
    draw(&contests, file).with_context(|| format!("failed to draw {}", file.display()))
}

fn draw(contests: &[&Outcome], file: &Path) -> Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Requests/s with propagation, of those without", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..contests.len() as f64, 0.0..1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(12)
        .y_label_formatter(&|value| format!("{value:.1}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    let width = 0.8 / SHOWN.len() as f64;
    for (index, (contender, colour)) in SHOWN.iter().enumerate() {
        let bars = contests.iter().enumerate().filter_map(|(number, contest)| {
            let left = number as f64 + 0.1 + index as f64 * width;
            let ratio = contest.row(*contender)?.ratio.median;
            Some(Rectangle::new([(left, 0.0), (left + 0.9 * width, ratio)], colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(contender.name())
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    for (number, contest) in contests.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(number as f64 + 0.1, 0.0));
        area.draw(&Text::new(contest.title, (x, y + 8), ("sans-serif", 13)))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .label_font(("sans-serif", 13))
        .draw()?;
    area.present()?;
    Ok(())
}
