//! Temporary.
#![allow(missing_docs)]
use std::collections::HashMap;
pub fn accuracy(a: &[usize], b: &[usize]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / b.len().max(1) as f64
}
pub fn macro_f1(a: &[usize], b: &[usize], n: usize) -> f64 {
    let mut sum = 0.0;
    let mut seen = 0;
    for c in 0..n {
        let tp = a
            .iter()
            .zip(b)
            .filter(|(a, b)| **a == c && **b == c)
            .count() as f64;
        let p = a.iter().filter(|a| **a == c).count() as f64;
        let t = b.iter().filter(|b| **b == c).count() as f64;
        if p + t > 0.0 {
            seen += 1;
            sum += 2.0 * tp / (p + t);
        }
    }
    sum / f64::from(seen.max(1))
}
pub fn micro_f1(a: &[Vec<bool>], b: &[Vec<bool>]) -> f64 {
    let (a, b) = (a.concat(), b.concat());
    let tp = a.iter().zip(&b).filter(|(a, b)| **a && **b).count() as f64;
    let n = a.iter().chain(&b).filter(|x| **x).count() as f64;
    if n == 0.0 { 0.0 } else { 2.0 * tp / n }
}
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        x += (a - ma) * (b - mb);
        y += (a - ma).powi(2);
        z += (b - mb).powi(2);
    }
    (y > 0.0 && z > 0.0).then(|| x / (y * z).sqrt())
}
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let rank = |v: &[f64]| {
        let mut o: Vec<usize> = (0..v.len()).collect();
        o.sort_by(|&i, &j| v[i].total_cmp(&v[j]));
        let mut r = vec![0.0; v.len()];
        let mut i = 0;
        while i < o.len() {
            let mut j = i;
            while j + 1 < o.len() && v[o[j + 1]] == v[o[i]] {
                j += 1;
            }
            for k in i..=j {
                r[o[k]] = (i + j) as f64 / 2.0;
            }
            i = j + 1;
        }
        r
    };
    pearson(&rank(a), &rank(b))
}
pub struct SpanScores {
    pub f1: f64,
}
fn spans(tags: &[&str]) -> Vec<(usize, usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for i in 0..=tags.len() {
        let tag = tags.get(i).copied().unwrap_or("O");
        let (p, t) = tag.split_once('-').unwrap_or((tag, ""));
        let ends = match &open {
            Some((_, kind)) => p != "I" || kind != t,
            None => true,
        };
        if ends {
            if let Some((s, k)) = open.take() {
                out.push((s, i, k));
            }
            if p != "O" {
                open = Some((i, t.to_owned()));
            }
        }
    }
    out
}
pub fn span_scores(a: &[Vec<&str>], b: &[Vec<&str>]) -> SpanScores {
    let (mut tp, mut n) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (spans(a), spans(b));
        tp += a.iter().filter(|s| b.contains(s)).count() as f64;
        n += (a.len() + b.len()) as f64;
    }
    SpanScores {
        f1: if n == 0.0 { 0.0 } else { 2.0 * tp / n },
    }
}
pub fn tag_accuracy(a: &[Vec<&str>], b: &[Vec<&str>]) -> f64 {
    let (a, b) = (a.concat(), b.concat());
    a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / b.len().max(1) as f64
}
fn norm(t: &str) -> Vec<String> {
    let t: String = t
        .to_lowercase()
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    t.split_whitespace()
        .filter(|w| !["a", "an", "the"].contains(w))
        .map(str::to_owned)
        .collect()
}
pub fn squad_exact(p: &str, answers: &[&str]) -> f64 {
    if answers.is_empty() {
        return f64::from(norm(p).is_empty());
    }
    f64::from(answers.iter().any(|a| norm(a) == norm(p)))
}
pub fn squad_f1(p: &str, answers: &[&str]) -> f64 {
    if answers.is_empty() {
        return f64::from(norm(p).is_empty());
    }
    answers
        .iter()
        .map(|a| {
            let (a, p) = (norm(a), norm(p));
            let mut c: HashMap<&String, i32> = HashMap::new();
            a.iter().for_each(|w| *c.entry(w).or_default() += 1);
            let mut same = 0;
            for w in &p {
                let e = c.entry(w).or_default();
                if *e > 0 {
                    *e -= 1;
                    same += 1;
                }
            }
            if same == 0 {
                0.0
            } else {
                2.0 * f64::from(same) / (a.len() + p.len()) as f64
            }
        })
        .fold(0.0, f64::max)
}
pub fn fit_temperature(logits: &[f32], classes: usize, labels: &[usize]) -> f32 {
    let nll = |lt: f64| {
        let t = lt.exp();
        let mut s = 0.0;
        for (row, &l) in logits.chunks(classes).zip(labels) {
            let m = row.iter().copied().fold(f32::MIN, f32::max);
            let z: f64 = row.iter().map(|&x| (f64::from(x - m) / t).exp()).sum();
            s += z.ln() - f64::from(row[l] - m) / t;
        }
        s
    };
    let (mut lo, mut hi) = (0.05f64.ln(), 20f64.ln());
    for _ in 0..60 {
        let (a, b) = (lo + (hi - lo) * 0.382, lo + (hi - lo) * 0.618);
        if nll(a) < nll(b) { hi = b } else { lo = a }
    }
    ((lo + hi) / 2.0).exp() as f32
}
pub fn calibration_error(conf: &[f64], right: &[bool], bins: usize) -> f64 {
    let mut sums = vec![(0.0, 0.0); bins];
    for (c, r) in conf.iter().zip(right) {
        let b = ((c * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        sums[b].0 += c;
        sums[b].1 += f64::from(*r);
    }
    sums.iter().map(|(c, r)| (c - r).abs()).sum::<f64>() / conf.len().max(1) as f64
}
