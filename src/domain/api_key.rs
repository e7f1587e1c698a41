//! The text of an API key: what kind it is, where it belongs, random digits, and a checksum that catches a typing
//! mistake before any look-up. Secret scanners may search for
//! `creditd_(test|live)_(app|finance|admin)_[0-9A-Za-z]{46}`.

use std::fmt;

use serde::Serialize;

/// What every key made by creditd begins with.
pub const PREFIX: &str = "creditd_";
/// Random bytes a key is made from: 240 bits, of which the 40 digits keep 238.
pub const RANDOM_BYTES: usize = 30;
/// Random digits of a key.
const RANDOM_DIGITS: usize = 40;
/// Digits of the checksum: 62^6 is above 2^32.
const CHECKSUM_DIGITS: usize = 6;
/// Longest key text that is looked at; ours have at most 67 characters, imported ones may be longer.
pub const KEY_TEXT_MAX: usize = 512;
/// Shortest secret that may be imported: 16 characters of a random generator are about 80 bits or more.
pub const IMPORTED_MIN: usize = 16;
/// Characters of a key that lists show: its prefix and at most seven random digits.
const SHOWN: usize = 24;
/// Characters of an imported secret that lists show.
const SHOWN_IMPORTED: usize = 4;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Check, track, and the customers behind them.
    App,
    /// Reads for finance.
    Finance,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::App, Self::Finance, Self::Admin];

    /// The word used in keys, rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Finance => "finance",
            Self::Admin => "admin",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// Why a text cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It begins like one of ours and is none: cut off, mistyped or made up.
    #[error("begins with `{PREFIX}` and is not a whole key of creditd: its form or its checksum is wrong")]
    Malformed,
    /// Too short to be a secret.
    #[error("has to have at least {IMPORTED_MIN} characters")]
    TooShort,
    /// Longer than is looked at.
    #[error("has to have at most {KEY_TEXT_MAX} characters")]
    TooLong,
    /// Characters that an HTTP header cannot carry.
    #[error("has to be visible ASCII characters without spaces")]
    NotVisible,
}

/// The text of a key. It prints as `[redacted]`; only [`KeyText::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

impl KeyText {
    /// Makes a key from random bytes of a cryptographic generator.
    pub fn make(livemode: bool, scope: Scope, random: [u8; RANDOM_BYTES]) -> Self {
        let environment = if livemode { "live" } else { "test" };
        let body = format!("{PREFIX}{environment}_{scope}_{}", random_digits(random));
        let checksum = checksum(&body);
        Self(body + &checksum)
    }

    /// Reads what a caller sent or an operator imports. A text that begins like one of ours has to be one of ours.
    pub fn read(text: &str) -> Result<Self, KeyTextError> {
        if text.len() > KEY_TEXT_MAX {
            return Err(KeyTextError::TooLong);
        }
        if text.len() < IMPORTED_MIN {
            return Err(KeyTextError::TooShort);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyTextError::NotVisible);
        }
        if text.starts_with(PREFIX) && !is_ours(text) {
            return Err(KeyTextError::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its first characters, enough to recognise it by and too few to use it.
    pub fn shown(&self) -> String {
        let count = if self.0.starts_with(PREFIX) { SHOWN } else { SHOWN_IMPORTED };
        self.0.chars().take(count).collect()
    }

    /// SHA-256 of the whole text: what is stored.
    pub fn hash(&self) -> [u8; 32] {
        use sha2::Digest;
        sha2::Sha256::digest(self.0.as_bytes()).into()
    }
}

fn is_ours(text: &str) -> bool {
    let Some(at) = text.len().checked_sub(CHECKSUM_DIGITS) else { return false };
    let Some((body, check)) = text.split_at_checked(at) else { return false };
    let mut parts = body.splitn(4, '_');
    let (_, environment, scope, random) = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(environment, Some("test" | "live"))
        && scope.and_then(Scope::from_word).is_some()
        && random.is_some_and(|digits| digits.len() == RANDOM_DIGITS && digits.bytes().all(|d| DIGITS.contains(&d)))
        && checksum(body) == check
}

/// The low 40 base-62 digits of the number the bytes make.
fn random_digits(mut number: [u8; RANDOM_BYTES]) -> String {
    let mut digits = String::with_capacity(RANDOM_DIGITS);
    for _ in 0..RANDOM_DIGITS {
        let mut rest: u32 = 0;
        for byte in &mut number {
            // Cannot overflow: the rest is below 62, so this is below 62 * 256.
            let value = rest.wrapping_mul(256).wrapping_add(u32::from(*byte));
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        digits.push(digit(rest));
    }
    digits
}

fn checksum(body: &str) -> String {
    let mut value = crc32fast::hash(body.as_bytes());
    let mut digits = [' '; CHECKSUM_DIGITS];
    for place in digits.iter_mut().rev() {
        *place = digit(value % 62);
        value /= 62;
    }
    digits.iter().collect()
}

fn digit(value: u32) -> char {
    // Cannot fail: called with remainders of 62.
    usize::try_from(value).ok().and_then(|value| DIGITS.get(value)).map_or('0', |byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(first: u8) -> [u8; RANDOM_BYTES] {
        std::array::from_fn(|place| first.wrapping_add(u8::try_from(place).unwrap().wrapping_mul(7)))
    }

    #[test]
    fn a_made_key_reads_back_and_names_kind_and_environment() {
        for scope in Scope::ALL {
            for (livemode, word) in [(false, "test"), (true, "live")] {
                let key = KeyText::make(livemode, scope, counting(9));
                let text = key.expose();
                assert!(text.starts_with(&format!("creditd_{word}_{scope}_")), "{text}");
                let prefix = format!("creditd_{word}_{scope}_").len();
                assert_eq!(text.len(), prefix + 46);
                assert!(KeyText::read(text).is_ok_and(|read| read == key));
                assert!(key.shown().len() <= 24 && text.starts_with(&key.shown()));
            }
        }
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let key = KeyText::make(false, Scope::App, counting(1));
        let text = key.expose();
        for place in 0..text.len() {
            for other in ['0', 'z', '_'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[place] == other {
                    continue;
                }
                changed[place] = other;
                let changed: String = changed.into_iter().collect();
                if changed.starts_with(PREFIX) {
                    assert_eq!(KeyText::read(&changed), Err(KeyTextError::Malformed), "{changed}");
                }
            }
        }
    }

    #[test]
    fn cut_or_lengthened_keys_are_malformed() {
        let key = KeyText::make(true, Scope::Admin, counting(200));
        let text = key.expose();
        assert_eq!(KeyText::read(&text[..text.len() - 1]), Err(KeyTextError::Malformed));
        assert_eq!(KeyText::read(&format!("{text}0")), Err(KeyTextError::Malformed));
        assert_eq!(KeyText::read("creditd_test_app_"), Err(KeyTextError::Malformed));
        assert_eq!(KeyText::read("creditd_aaaaaaaaéé"), Err(KeyTextError::NotVisible));
    }

    #[test]
    fn imported_secrets_are_any_visible_text_of_sixteen() {
        assert_eq!(KeyText::read("short"), Err(KeyTextError::TooShort));
        assert_eq!(KeyText::read(&"x".repeat(513)), Err(KeyTextError::TooLong));
        assert_eq!(KeyText::read("sixteen chars or more"), Err(KeyTextError::NotVisible));
        let key = KeyText::read("am_sk_1234567890abcdef").unwrap();
        assert_eq!(key.shown(), "am_s");
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn different_bytes_give_different_keys() {
        let keys: std::collections::BTreeSet<String> =
            (0..=255).map(|first| KeyText::make(false, Scope::App, counting(first)).expose().to_owned()).collect();
        assert_eq!(keys.len(), 256);
    }
}
