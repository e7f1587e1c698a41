//! The text of an API key: `creditd_<mode>_<scope>_<43 characters><6 characters of checksum>`.
//!
//! The middle is 256 random bits in base 62; the end is the CRC-32 of everything before it, so that a mistyped key is
//! refused before any look-up and a scanner can tell a key from noise: `creditd_(test|live)_(app|finance|admin)_[0-9A-Za-z]{49}`.

use ethnum::U256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Characters of 256 bits in base 62.
const RANDOM_CHARACTERS: usize = 43;
/// Characters of 32 bits in base 62.
const CHECK_CHARACTERS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key that are kept to recognise it by.
const SHOWN: usize = 24;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Check, track, customers.
    App,
    /// Reading and reports.
    Finance,
    /// Everything.
    Admin,
}

impl Scope {
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
        [Self::App, Self::Finance, Self::Admin].into_iter().find(|known| known.word() == word)
    }
}

/// A new key from 256 random bits.
pub fn make(livemode: bool, scope: Scope, random: [u8; 32]) -> String {
    let mode = if livemode { "live" } else { "test" };
    let mut key = format!("creditd_{mode}_{}_", scope.word());
    key.push_str(&base62(U256::from_be_bytes(random), RANDOM_CHARACTERS));
    let check = crc32fast::hash(key.as_bytes());
    key.push_str(&base62(U256::from(check), CHECK_CHARACTERS));
    key
}

fn base62(mut value: U256, characters: usize) -> String {
    let base = U256::from(62_u8);
    let mut text = vec![b'0'; characters];
    for place in text.iter_mut().rev() {
        // Cannot be out of range: a rest below 62.
        let digit = value.wrapping_rem(base).as_usize();
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        value = value.wrapping_div(base);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Is this text a key of ours with a right checksum? `None`: it does not look like one, so it may be an imported one.
pub fn checksum_holds(key: &str) -> Option<bool> {
    let rest = key.strip_prefix("creditd_test_").or_else(|| key.strip_prefix("creditd_live_"))?;
    let (scope, random) = rest.split_once('_')?;
    Scope::from_word(scope)?;
    let plain = random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let split = key.len().checked_sub(CHECK_CHARACTERS)?;
    let fits = random.len() == RANDOM_CHARACTERS.saturating_add(CHECK_CHARACTERS);
    let (Some(body), Some(check)) = (key.get(..split), key.get(split..)) else { return Some(false) };
    Some(plain && fits && base62(U256::from(crc32fast::hash(body.as_bytes())), CHECK_CHARACTERS) == check)
}

/// What is stored of a key.
pub fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// What a list shows of a key made here.
pub fn shown(key: &str) -> String {
    let most = key.len().saturating_sub(RANDOM_CHARACTERS).min(SHOWN);
    key.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_recognised_and_a_mistyped_one_is_not() {
        let key = make(false, Scope::App, [7; 32]);
        assert_eq!(key.len(), "creditd_test_app_".len() + 49);
        assert_eq!(checksum_holds(&key), Some(true));
        for place in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            let other = String::from_utf8(other).expect("ascii");
            assert_ne!(checksum_holds(&other), Some(true), "{other}");
        }
        assert_eq!(checksum_holds("sk_test_4eC39HqLyjWDarjtT1zdp7dc"), None);
    }

    #[test]
    fn what_is_shown_is_not_enough_to_use() {
        let key = make(true, Scope::Admin, [255; 32]);
        assert!(shown(&key).len() <= 24 && key.starts_with(&shown(&key)), "{}", shown(&key));
    }
}
