use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&a[2]).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
    let t = albert_text::Tokenizer::from_file(&a[1]).unwrap();
    for _ in 0..3 {
        let s = Instant::now();
        let mut n = 0;
        for l in &lines {
            n += t.tokens(l, true).unwrap().len();
        }
        let e = s.elapsed().as_secs_f64();
        println!(
            "{} bytes, {n} pieces, {:.2} MB/s",
            text.len(),
            text.len() as f64 / e / 1e6
        );
    }
    for unit in ["a", "hello world. ", "日", "ab1,", "."] {
        let l = unit.repeat(100_000 / unit.len());
        let s = Instant::now();
        let n = t.tokens(&l, true).unwrap().len();
        println!("{unit:?} {n} {:?}", s.elapsed());
    }
}
