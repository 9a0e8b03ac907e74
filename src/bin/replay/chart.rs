//! Draws outcomes as a picture: granted and denied requests over time, with one panel for each set
//! of limits. All panels have the same scales, because they show the same requests.

use crate::read::Traffic;
use crate::simulate::{Outcome, column_seconds};
use crate::table::time;
use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea as _, IntoFont as _, RGBColor, Rectangle, SVGBackend, WHITE,
};
use plotters::series::AreaSeries;
use std::error::Error;
use std::path::Path;

const WIDTH: u32 = 1000;
const PANEL_HEIGHT: u32 = 240;
const HEAD_HEIGHT: u32 = 40;
const GRANTED: RGBColor = RGBColor(0x4c, 0x9a, 0x6a);
const DENIED: RGBColor = RGBColor(0xd1, 0x49, 0x3f);

/// Writes the file. It is SVG whatever its name is.
pub fn write(path: &Path, traffic: &Traffic, outcomes: &[Outcome<'_>]) -> Result<(), Box<dyn Error>> {
    let panels = u32::try_from(outcomes.len())?.max(1);
    let mut svg = String::new();
    {
        let size = (WIDTH, HEAD_HEIGHT + PANEL_HEIGHT * panels);
        let all = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        all.fill(&WHITE)?;
        let every = column_seconds(traffic);
        let title = format!("Requests in each {every} s: granted (green), denied (red) above them");
        let body = all.titled(&title, ("sans-serif", 18).into_font())?;
        let rows = body.split_evenly((panels as usize, 1));
        for (panel, outcome) in rows.iter().zip(outcomes) {
            draw(panel, traffic, outcome, every)?;
        }
        all.present()?;
    }
    std::fs::write(path, svg)?;
    Ok(())
}

type Panel<'a> = plotters::drawing::DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    panel: &Panel<'_>,
    traffic: &Traffic,
    outcome: &Outcome<'_>,
    every: u32,
) -> Result<(), Box<dyn Error>> {
    let (first, _) = traffic.span();
    let columns = outcome.columns.len() as u64;
    let top = outcome.columns.iter().map(|column| column.requests()).max().unwrap_or(0).max(1);
    let caption = format!(
        "{}: {} granted, {} denied",
        outcome.candidate.text(),
        outcome.total.granted,
        outcome.total.denied
    );
    let mut chart = ChartBuilder::on(panel)
        .caption(caption, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0..columns, 0..top + top / 20 + 1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("time (UTC)")
        .y_desc(format!("requests in {every} s"))
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|column| {
            u32::try_from(*column).map(|column| time(first + column * every)).unwrap_or_default()
        })
        .draw()?;
    // An area series with a single column is empty, so it is drawn as a rectangle.
    if columns == 1 {
        let count = outcome.total;
        chart.draw_series([
            Rectangle::new([(0, 0), (1, count.requests())], DENIED.filled()),
            Rectangle::new([(0, 0), (1, count.granted)], GRANTED.filled()),
        ])?;
        return Ok(());
    }
    let all = (0..).zip(outcome.columns.iter().map(|column| column.requests()));
    chart.draw_series(AreaSeries::new(all, 0, DENIED))?;
    let granted = (0..).zip(outcome.columns.iter().map(|column| column.granted));
    chart.draw_series(AreaSeries::new(granted, 0, GRANTED))?;
    Ok(())
}
