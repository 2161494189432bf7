//! The program `albert`.
fn main() {}
