//! A picture of a run: losses and scores against tokens or steps, as SVG.

use std::fmt::Write;

use crate::metrics::Row;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 46.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;

/// Steps of training are averaged to so many points, so that the file stays small.
const POINTS: usize = 300;

const TRAINING: &str = "#7aa6d8";
const HELD_OUT: &str = "#c2410c";

/// One quantity of a row, if the row has it.
type Of = fn(&Row) -> Option<f64>;

/// A quantity over the course of a run: in training, and on held-out data.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What it is.
    pub name: String,
    /// `(x, value)` in training.
    pub training: Vec<(f64, f64)>,
    /// `(x, value)` on held-out data.
    pub held_out: Vec<(f64, f64)>,
}

/// Draws the rows of a pretraining run: training in blue, held-out text in orange.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let panels: [(&str, Of, Of); 3] = [
        (
            "masked-LM loss (nats)",
            |row| Some(row.masked_lm_loss),
            |row| Some(row.dev?.masked_lm_loss),
        ),
        (
            "masked-LM accuracy",
            |row| row.masked_lm_accuracy,
            |row| Some(row.dev?.masked_lm_accuracy),
        ),
        (
            "sentence-order accuracy",
            |row| row.order_accuracy,
            |row| Some(row.dev?.order_accuracy),
        ),
    ];
    let panels = panels.map(|(name, training, held_out)| Panel {
        name: name.to_owned(),
        training: points(rows, training),
        held_out: points(rows, held_out),
    });
    draw(title, "tokens", &panels)
}

/// Draws panels below each other, over one axis that counts `unit`.
pub fn draw(title: &str, unit: &str, panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>",
        escaped(title)
    );
    for (x, colour, name) in [
        (WIDTH - 220.0, TRAINING, "training"),
        (WIDTH - 120.0, HELD_OUT, "held out"),
    ] {
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 18h18\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\
             <text x=\"{}\" y=\"22\">{name}</text>",
            x + 24.0
        );
    }
    let ends = panels
        .iter()
        .flat_map(|panel| panel.training.iter().chain(&panel.held_out));
    let end = ends.map(|point| point.0).fold(1.0, f64::max);
    for (i, drawn) in panels.iter().enumerate() {
        let top = TOP + i as f64 * (PANEL + GAP);
        let lines = [
            (thinned(&drawn.training), TRAINING, 1.6),
            (drawn.held_out.clone(), HELD_OUT, 2.2),
        ];
        panel(&mut svg, top, &drawn.name, (end, unit), &lines);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Points, colour and width.
type Line<'a> = (Vec<(f64, f64)>, &'a str, f64);

fn points(rows: &[Row], of: Of) -> Vec<(f64, f64)> {
    let finite = |row: &Row| {
        Some((
            row.tokens as f64,
            of(row).filter(|value| value.is_finite())?,
        ))
    };
    rows.iter().filter_map(finite).collect()
}

/// Means over equal numbers of neighbouring points.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |some: &[(f64, f64)]| {
        let n = some.len() as f64;
        let sum = some
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / n, sum.1 / n)
    };
    points
        .chunks(points.len().div_ceil(POINTS).max(1))
        .map(mean)
        .collect()
}

fn panel(svg: &mut String, top: f64, name: &str, (end, unit): (f64, &str), lines: &[Line<'_>]) {
    let values = || {
        lines
            .iter()
            .flat_map(|(points, ..)| points.iter().map(|point| point.1))
    };
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let step = round_step((high - low).max(1e-3) / 4.0);
    let (low, high) = (
        (low / step).floor() * step,
        ((high / step).ceil() * step).max(low + step),
    );
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| top + PANEL - (value - low) / (high - low) * PANEL;
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" fill=\"#555\">{name}</text>",
        top - 6.0
    );
    let ticks = ((high - low) / step).round() as usize;
    let digits = (-step.log10().floor()).max(0.0) as usize;
    for tick in 0..=ticks {
        let value = low + tick as f64 * step;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {:.1}H{}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.digits$}</text>",
            y(value),
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(value) + 4.0
        );
    }
    let across = round_step(end / 5.0);
    for tick in 0..=(end / across) as usize {
        let at = tick as f64 * across;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(at),
            top + PANEL + 17.0,
            count(at, unit)
        );
    }
    for (points, colour, width) in lines {
        let mut path = String::new();
        for (i, &(at, value)) in points.iter().enumerate() {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if i == 0 { 'M' } else { 'L' },
                x(at),
                y(value)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-linejoin=\"round\" stroke-linecap=\"round\"/>"
        );
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A number as people write it on an axis, at 0 with what is counted.
fn count(tokens: f64, unit: &str) -> String {
    match tokens {
        0.0 => format!("0 {unit}"),
        tokens if tokens >= 1e9 => format!("{}G", short(tokens / 1e9)),
        tokens if tokens >= 1e6 => format!("{}M", short(tokens / 1e6)),
        tokens if tokens >= 1e3 => format!("{}k", short(tokens / 1e3)),
        tokens => short(tokens),
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::DevScores;

    #[test]
    fn a_long_run_makes_a_small_picture() {
        let row = |step: u64| Row {
            step,
            tokens: step * 4000,
            masked_lm_loss: 9.0 - (step as f64).ln(),
            dev: step.is_multiple_of(500).then(DevScores::default),
            ..Row::default()
        };
        let rows: Vec<Row> = (1..20_000).map(row).collect();
        let picture = svg("mini & more", &rows);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("mini &amp; more"));
        assert!(
            picture.contains(">20M<") && picture.len() < 60_000,
            "{}",
            picture.len()
        );
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn a_run_without_rows_has_empty_panels() {
        let picture = svg("none", &[]);
        assert!(picture.contains("sentence-order accuracy") && !picture.contains("NaN"));
    }
}
