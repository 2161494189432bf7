//! Where a model is wrong, as one HTML file without anything beside it.

use std::fmt::Write;

use crate::evaluation::{Confusion, Evaluation};

/// So many mistakes are shown.
const MISTAKES: usize = 100;

/// A table of more classes shows those that are taken for others most.
const CLASSES: usize = 20;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;\
padding:0 1rem;color:#222}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.3rem .7rem;\
border-bottom:1px solid #ddd;text-align:left;vertical-align:top}td.n{text-align:right;\
font-variant-numeric:tabular-nums}td.d{background:#e8f3e8}td.w{background:#fbe9e7}\
small{color:#666}";

/// The report of an evaluation: scores, which class is taken for which, and the surest mistakes.
pub fn report(title: &str, evaluation: &Evaluation) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head>\n<body><h1>{0}</h1>\n\
         <p>{1} examples in {2:.1} s.</p>\n<h2>Scores</h2>\n\
         <table><tr><th>score</th><th>value</th><th>95% interval</th></tr>\n",
        escaped(title),
        evaluation.rows,
        evaluation.seconds
    );
    for (name, value) in &evaluation.metrics {
        let interval = evaluation.intervals.get(name);
        let interval =
            interval.map_or_else(String::new, |[low, high]| format!("{low:.4} to {high:.4}"));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"n\">{value:.4}</td><td class=\"n\">{interval}</td></tr>",
            escaped(name)
        );
    }
    html.push_str("</table>\n");
    if let Some(confusion) = &evaluation.confusion {
        table(&mut html, confusion);
    }
    if !evaluation.mistakes.is_empty() {
        let shown = evaluation.mistakes.len().min(MISTAKES);
        let _ = writeln!(
            html,
            "<h2>Mistakes</h2>\n<p>{shown} of {}, the surest first.</p>\n<table><tr>\
             <th>where</th><th>text</th><th>said</th><th>right</th><th>sure</th></tr>",
            evaluation.mistakes.len()
        );
        for mistake in evaluation.mistakes.iter().take(MISTAKES) {
            let sure = mistake.confidence;
            let sure = sure.map_or_else(String::new, |sure| format!("{:.1}%", 100.0 * sure));
            let _ = writeln!(
                html,
                "<tr><td><small>{}</small></td><td>{}</td><td>{}</td><td>{}</td>\
                 <td class=\"n\">{sure}</td></tr>",
                escaped(&mistake.place),
                escaped(&mistake.text),
                escaped(&mistake.guess),
                escaped(&mistake.right)
            );
        }
        html.push_str("</table>\n");
    }
    html.push_str("</body></html>\n");
    html
}

fn table(html: &mut String, confusion: &Confusion) {
    let count = confusion.labels.len();
    let mut order: Vec<usize> = (0..count).collect();
    if count > CLASSES {
        let wrong = |&class: &usize| {
            let row: usize = confusion.counts[class].iter().sum();
            std::cmp::Reverse(row - confusion.counts[class][class])
        };
        order.sort_by_key(wrong);
        order.truncate(CLASSES);
        order.sort_unstable();
    }
    html.push_str("<h2>Which class is taken for which</h2>\n");
    if count > CLASSES {
        let _ = writeln!(
            html,
            "<p>The {CLASSES} of {count} classes that are mistaken most often.</p>"
        );
    }
    html.push_str("<table><tr><th>right, said</th>");
    for &class in &order {
        let _ = write!(html, "<th>{}</th>", escaped(&confusion.labels[class]));
    }
    html.push_str("</tr>\n");
    for &row in &order {
        let _ = write!(html, "<tr><th>{}</th>", escaped(&confusion.labels[row]));
        for &column in &order {
            let count = confusion.counts[row][column];
            let class = match (row == column, count) {
                (true, _) => "n d",
                (false, 0) => "n",
                (false, _) => "n w",
            };
            let _ = write!(html, "<td class=\"{class}\">{count}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Mistake;

    #[test]
    fn a_report_stands_alone_and_shows_text_as_text() {
        let mut evaluation = Evaluation {
            rows: 2,
            confusion: Some(Confusion {
                labels: vec!["a".into(), "<b>".into()],
                counts: vec![vec![1, 1], vec![0, 0]],
            }),
            mistakes: vec![Mistake {
                place: "line 2".into(),
                text: "<script>alert(1)</script>".into(),
                guess: "<b>".into(),
                right: "a".into(),
                confidence: Some(0.9),
            }],
            ..Evaluation::default()
        };
        evaluation.metrics.insert("accuracy".into(), 0.5);
        let html = report("sst2 & more", &evaluation);
        assert!(html.contains("sst2 &amp; more") && html.contains("&lt;script&gt;"));
        assert!(!html.contains("<script") && !html.contains("http"));
        assert!(html.contains("<td class=\"n w\">1</td>") && html.contains("90.0%"));
    }
}
