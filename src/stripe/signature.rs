//! Is this body what Stripe signed, and recently? Pure: bytes, secrets and the time in, a verdict out.
//!
//! The signed text is `{t}.{body}` under HMAC-SHA256; the header carries `t` and one `v1` per active secret. Nothing
//! may be written before this verdict, and a failure is the only thing besides a non-UTF-8 body that earns a 400.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Stripe's own verifiers refuse deliveries signed longer ago than this.
pub const AGE_SECONDS_MAX: i64 = 300;

/// How far ahead the strict switch lets a timestamp be.
pub const FUTURE_SECONDS_MAX: i64 = 300;

/// More digits than any unix second jiff can hold (year 9999) needs.
const TIMESTAMP_DIGITS_MAX: usize = 12;

/// A webhook endpoint's signing secret; shown as `[redacted]`.
#[derive(Clone)]
pub struct Secret(SecretString);

/// An empty signing secret, which anyone could sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook signing secret is empty: copy `whsec_...` from the endpoint's page in Stripe")]
pub struct EmptySecret;

impl Secret {
    /// Wraps a secret, trimmed of the white space that files and shells add.
    pub fn new(text: &str) -> Result<Self, EmptySecret> {
        let text = text.trim();
        if text.is_empty() { Err(EmptySecret) } else { Ok(Self(SecretString::from(text))) }
    }

    fn mac(&self, timestamp: &str, body: &[u8]) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()).ok()?;
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        Some(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret([redacted])")
    }
}

/// How far from now a signed timestamp may lie; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// The greatest age, in seconds.
    pub age_seconds_max: i64,
    /// How far ahead, in seconds; `None` accepts any future, as the official verifiers do.
    pub future_seconds_max: Option<i64>,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { age_seconds_max: AGE_SECONDS_MAX, future_seconds_max: None }
    }
}

impl Tolerance {
    /// The strict switch: a timestamp far ahead is refused too.
    pub const fn strict() -> Self {
        Self { age_seconds_max: AGE_SECONDS_MAX, future_seconds_max: Some(FUTURE_SECONDS_MAX) }
    }
}

/// A body that one of the secrets signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    /// The place in the configured list of the secret that matched.
    pub secret_index: usize,
    /// When Stripe signed, by its clock.
    pub signed_at: Timestamp,
    /// How far ahead of ours that was; worth a warning and a metric.
    pub future_seconds: Option<i64>,
}

/// Why a delivery is not believed. Each says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No secret is configured, so nothing can be verified.
    #[error("no webhook signing secret is configured: set the endpoint's `whsec_...` secret")]
    NoSecret,
    /// The request has no signature header.
    #[error("the `Stripe-Signature` header is missing: send the request from Stripe, and let no proxy strip headers")]
    MissingHeader,
    /// The header has no `t` element.
    #[error("the `Stripe-Signature` header has no `t=` element: pass the header on unchanged")]
    NoTimestamp,
    /// The header's `t` is no unix time, or two of them disagree.
    #[error("`t=` of the `Stripe-Signature` header is not one unix time in seconds: pass the header on unchanged")]
    BadTimestamp,
    /// The header has no `v1` element.
    #[error(
        "the `Stripe-Signature` header has no `v1=` signature (`v0` is not accepted): pass the header on unchanged"
    )]
    NoSignature,
    /// The body is not UTF-8, so Stripe did not write it.
    #[error("the body is not UTF-8: pass Stripe's bytes on unchanged, without recompressing or recoding them")]
    BodyNotUtf8,
    /// No secret gives any of the signatures.
    #[error("no configured secret matches the signature: use this endpoint's own secret, and pass the raw body on")]
    Mismatch,
    /// Signed too long ago.
    #[error("signed {age_seconds} s ago, more than {limit_seconds} s: check this machine's clock, or resend the event")]
    TooOld {
        /// The age found.
        age_seconds: i64,
        /// The age allowed.
        limit_seconds: i64,
    },
    /// Signed in the future, under the strict switch.
    #[error("signed {ahead_seconds} s ahead, more than {limit_seconds} s: check this machine's clock")]
    TooFarAhead {
        /// The distance found.
        ahead_seconds: i64,
        /// The distance allowed.
        limit_seconds: i64,
    },
}

impl SignatureError {
    /// A stable name for answers, metrics and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "signature_no_secret",
            Self::MissingHeader => "signature_header_missing",
            Self::NoTimestamp => "signature_timestamp_missing",
            Self::BadTimestamp => "signature_timestamp_invalid",
            Self::NoSignature => "signature_v1_missing",
            Self::BodyNotUtf8 => "body_not_utf8",
            Self::Mismatch => "signature_mismatch",
            Self::TooOld { .. } => "signature_too_old",
            Self::TooFarAhead { .. } => "signature_too_far_ahead",
        }
    }
}

/// Verifies a delivery: any secret against any `v1`, compared in constant time, then the age.
///
/// The age comes last, so that "too old" is only ever said of a body Stripe did sign.
pub fn verify(
    body: &[u8],
    header: Option<&str>,
    secrets: &[Secret],
    now: Timestamp,
    policy: &Tolerance,
) -> Result<Verified, SignatureError> {
    if secrets.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let header = SignatureHeader::read(header.ok_or(SignatureError::MissingHeader)?)?;
    if std::str::from_utf8(body).is_err() {
        return Err(SignatureError::BodyNotUtf8);
    }
    let secret_index = secrets.iter().position(|secret| header.is_signed_by(secret, body));
    let secret_index = secret_index.ok_or(SignatureError::Mismatch)?;

    // Both are within jiff's years -9999..9999, so neither difference can overflow.
    let age_seconds = now.as_second() - header.signed_at.as_second();
    let ahead_seconds = -age_seconds;
    if age_seconds > policy.age_seconds_max {
        return Err(SignatureError::TooOld { age_seconds, limit_seconds: policy.age_seconds_max });
    }
    if let Some(limit_seconds) = policy.future_seconds_max.filter(|limit| ahead_seconds > *limit) {
        return Err(SignatureError::TooFarAhead { ahead_seconds, limit_seconds });
    }
    let future_seconds = (ahead_seconds > 0).then_some(ahead_seconds);
    Ok(Verified { secret_index, signed_at: header.signed_at, future_seconds })
}

/// The `Stripe-Signature` header Stripe would send for this body: for the simulator, the tour and the tests.
pub fn sign(body: &[u8], secret: &Secret, signed_at: Timestamp) -> String {
    let timestamp = signed_at.as_second().to_string();
    // HMAC takes a key of any length, so the default is never used; it would verify against nothing.
    let signature = secret.mac(&timestamp, body).map(hex::encode).unwrap_or_default();
    format!("t={timestamp},v1={signature}")
}

/// The header taken apart. `timestamp` stays as text, because the text is what was signed.
struct SignatureHeader<'a> {
    timestamp: &'a str,
    signed_at: Timestamp,
    signatures: Vec<&'a str>,
}

impl<'a> SignatureHeader<'a> {
    fn read(header: &'a str) -> Result<Self, SignatureError> {
        let mut timestamp = None;
        let mut signatures = Vec::new();
        // Elements without `=` and unknown keys are skipped, as the official verifiers do. `v0` is one of them.
        for (key, value) in header.split(',').filter_map(|element| element.split_once('=')) {
            let value = value.trim();
            match key.trim() {
                "t" if timestamp.is_some_and(|earlier| earlier != value) => return Err(SignatureError::BadTimestamp),
                "t" => timestamp = Some(value),
                "v1" => signatures.push(value),
                _ => {}
            }
        }
        let timestamp = timestamp.ok_or(SignatureError::NoTimestamp)?;
        let signed_at = unix_seconds(timestamp).ok_or(SignatureError::BadTimestamp)?;
        if signatures.is_empty() {
            return Err(SignatureError::NoSignature);
        }
        Ok(Self { timestamp, signed_at, signatures })
    }

    /// One HMAC per secret, however many signatures a sender puts into the header.
    fn is_signed_by(&self, secret: &Secret, body: &[u8]) -> bool {
        secret.mac(self.timestamp, body).is_some_and(|expected| {
            self.signatures.iter().any(|signature| {
                let mut given = [0_u8; 32];
                hex::decode_to_slice(signature, &mut given).is_ok() && bool::from(expected.ct_eq(&given))
            })
        })
    }
}

fn unix_seconds(text: &str) -> Option<Timestamp> {
    let is_plain = (1..=TIMESTAMP_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten().and_then(|second| Timestamp::from_second(second).ok())
}
