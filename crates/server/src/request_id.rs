//! An id for every request: the caller's, if it is a plain one, or a new one.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;

/// The header that carries it, both ways.
pub(crate) const HEADER: &str = "x-request-id";

const LONGEST: usize = 64;

tokio::task_local! {
    /// That of the request which the task answers.
    pub(crate) static CURRENT: String;
}

/// The id of the request that is being answered; empty outside one.
pub(crate) fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// The caller's id where it is short and plain, else a new one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        let mark = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !id.is_empty() && id.len() <= LONGEST && id.chars().all(mark)
    };
    let given = headers.get(HEADER).and_then(|id| id.to_str().ok());
    given.filter(plain).map_or_else(fresh, str::to_owned)
}

/// 16 hexadecimal digits, different for every request of a process and, in all likelihood, of
/// others.
fn fresh() -> String {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", SEED.hash_one(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_kept_and_another_replaced() {
        let given = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, id.parse().unwrap());
            of(&headers)
        };
        assert_eq!(given("a-1_b.C"), "a-1_b.C");
        for odd in ["", "a b", "<script>", &"x".repeat(65)] {
            let id = given(odd);
            assert_eq!(id.len(), 16, "{odd}");
            assert_ne!(id, given(odd));
        }
    }
}
