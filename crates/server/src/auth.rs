//! Who may ask, and how often.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::Error;
use crate::problem::{Problem, Result};

/// The shortest key that is taken: shorter ones can be guessed.
const SHORTEST: usize = 16;

/// The longest key that is taken.
const LONGEST: usize = 512;

/// The keys that are known; with none, everyone may ask.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Arc<[Key]>,
}

struct Key {
    secret: Padded,
    /// Requests a second, in the long run.
    rate: Option<f64>,
    /// Requests that may be made now, and when that was reckoned.
    left: Mutex<(f64, Instant)>,
}

/// A key behind which zero bytes stand, so that all are as long as each other and a comparison takes
/// the same time for each.
#[derive(PartialEq, Eq)]
struct Padded([u8; LONGEST]);

impl Padded {
    /// `None` for a key that is too long. No key has zero bytes of its own.
    fn new(key: &str) -> Option<Self> {
        let mut padded = [0; LONGEST];
        padded.get_mut(..key.len())?.copy_from_slice(key.as_bytes());
        Some(Self(padded))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl Keys {
    /// Reads keys, one a line: `KEY`, or `KEY RATE` for at most that many requests a second. Blank
    /// lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// What is wrong, with the line's number; never the key.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |what: &str| Err(format!("line {}: {what}", number + 1));
            let mut words = line.split_whitespace();
            let secret = words.next().unwrap_or_default();
            let rate = words.next();
            if words.next().is_some() {
                return fail("more than a key and a rate");
            }
            if secret.len() < SHORTEST {
                return fail(&format!("a key of fewer than {SHORTEST} characters"));
            }
            if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return fail("a key with other than plain ASCII characters");
            }
            let Some(secret) = Padded::new(secret) else {
                return fail(&format!("a key of more than {LONGEST} characters"));
            };
            if keys.iter().any(|key| key.secret == secret) {
                return fail("a key that stands there before");
            }
            let rate = match rate.map(str::parse::<f64>) {
                None => None,
                Some(Ok(rate)) if rate.is_finite() && rate > 0.0 => Some(rate),
                Some(_) => return fail("the rate is no number above 0"),
            };
            keys.push(Key {
                secret,
                rate,
                left: Mutex::new((burst(rate), Instant::now())),
            });
        }
        Ok(Self { keys: keys.into() })
    }

    /// Reads the keys of a file; whoever has one wants callers to be asked for a key.
    ///
    /// # Errors
    /// [`Error::Keys`]: it cannot be read, there is none in it, or one is wrong.
    pub fn from_file(path: &Path) -> std::result::Result<Self, Error> {
        let fail = |problem: String| Error::Keys {
            path: path.to_owned(),
            problem,
        };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let keys = Self::parse(&text).map_err(fail)?;
        match keys.is_empty() {
            true => Err(fail("there is no key in it".to_owned())),
            false => Ok(keys),
        }
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Lets a request through, and counts it.
    ///
    /// # Errors
    /// 401 without a known key, 429 beyond its rate.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let given = given.and_then(Padded::new).ok_or_else(Problem::no_key)?;
        // Every key is compared, whichever is the right one, and each in the same time.
        let mut found = None;
        for key in &*self.keys {
            if bool::from(key.secret.0.ct_eq(&given.0)) {
                found = Some(key);
            }
        }
        found.ok_or_else(Problem::no_key)?.count(Instant::now())
    }
}

/// Requests that may come at once.
fn burst(rate: Option<f64>) -> f64 {
    rate.map_or(0.0, |rate| rate.max(1.0))
}

impl Key {
    fn count(&self, now: Instant) -> Result<()> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(left.1).as_secs_f64();
        *left = ((left.0 + rate * since).min(burst(self.rate)), now);
        if left.0 < 1.0 {
            let seconds = ((1.0 - left.0) / rate).ceil() as u64;
            let detail = format!("this key may ask {rate} times a second");
            return Err(Problem::too_often(detail, seconds));
        }
        left.0 -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_known_key_passes_and_no_other() {
        let keys = Keys::parse("# ours\n\n  abcdefghijklmnop \nqrstuvwxyz0123456789 5\n").unwrap();
        assert!(keys.admit(&with("Bearer abcdefghijklmnop")).is_ok());
        assert!(keys.admit(&with("bearer qrstuvwxyz0123456789")).is_ok());
        for wrong in [
            "Bearer abcdefghijklmno",
            "Bearer abcdefghijklmnopq",
            "Bearer ",
            "Basic abcdefghijklmnop",
            "abcdefghijklmnop",
        ] {
            assert_eq!(keys.admit(&with(wrong)), Err(Problem::no_key()), "{wrong}");
        }
        let long = "k".repeat(LONGEST);
        let keys = Keys::parse(&long).unwrap();
        assert!(keys.admit(&with(&format!("Bearer {long}"))).is_ok());
        let longer = with(&format!("Bearer {long}k"));
        assert_eq!(keys.admit(&longer), Err(Problem::no_key()));
        assert_eq!(keys.admit(&HeaderMap::new()), Err(Problem::no_key()));
        assert!(Keys::default().admit(&HeaderMap::new()).is_ok());
        assert_eq!(format!("{keys:?}"), "1 keys");
    }

    #[test]
    fn lines_that_are_no_keys_are_named() {
        let long = "k".repeat(LONGEST + 1);
        for (text, says) in [
            (&*long, "line 1: a key of more than 512 characters"),
            ("short", "line 1: a key of fewer than 16 characters"),
            (
                "\nabcdefghijklmnop x",
                "line 2: the rate is no number above 0",
            ),
            (
                "abcdefghijklmnop -1",
                "line 1: the rate is no number above 0",
            ),
            ("abcdefghijklmnop 1 2", "line 1: more than a key and a rate"),
            (
                "abcdefghijklmnöp",
                "line 1: a key with other than plain ASCII characters",
            ),
            (
                "abcdefghijklmnop\nabcdefghijklmnop 2",
                "line 2: a key that stands there before",
            ),
        ] {
            assert_eq!(Keys::parse(text).unwrap_err(), says);
        }
    }

    #[test]
    fn a_rate_is_kept_in_the_long_run() {
        let keys = Keys::parse("abcdefghijklmnop 2").unwrap();
        let key = &keys.keys[0];
        let start = Instant::now();
        let mut passed = 0;
        for tenth in 0..100 {
            passed += u32::from(
                key.count(start + Duration::from_millis(100 * tenth))
                    .is_ok(),
            );
        }
        // Two at once to begin with, then two a second for 9.9 seconds.
        assert!((20..=22).contains(&passed), "{passed}");
    }
}
