//! Ten thousand changed deliveries at the daemon's own door: what is not validly signed is refused, with no error of ours
//! and no row; what is, by a verifier written here after Stripe's documentation, is taken however it is written.

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderValue;
use serde_json::json;
use sha2::Sha256;

use crate::support::app::{TestApp, WEBHOOK_SECRET};
use crate::support::events::{event, moment};

/// Deliveries that have to be refused.
const REFUSED: usize = 10_000;
/// Deliveries under way at once.
const AT_ONCE: usize = 100;
/// Age from which on a signature is too old, with room for the time the test itself takes.
const TOO_OLD: i64 = 301;
const SURELY_YOUNG: i64 = 200;

/// A small generator of its own, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A byte that a header can carry.
    fn visible(&mut self) -> u8 {
        match u8::try_from(32 + self.below(224)).unwrap() {
            127 => b'~',
            byte => byte,
        }
    }

    /// One bit turned, a byte changed, dropped or put in, a cut, a piece repeated.
    fn bytes(&mut self, bytes: &mut Vec<u8>, byte: impl Fn(&mut Self) -> u8) {
        let place = self.below(bytes.len());
        match self.below(6) {
            _ if bytes.is_empty() => bytes.push(byte(self)),
            0 => bytes[place] ^= 1 << self.below(8),
            1 => bytes[place] = byte(self),
            2 => drop(bytes.remove(place)),
            3 => bytes.truncate(place),
            4 => bytes.extend_from_within(place..),
            _ => bytes.insert(place, byte(self)),
        }
    }

    /// Elements of the header dropped, doubled, swapped, renamed, or put in.
    fn elements(&mut self, header: &str) -> String {
        let mut elements: Vec<String> = header.split(',').map(str::to_owned).collect();
        let place = self.below(elements.len());
        let other = self.below(elements.len());
        match self.below(9) {
            0 => drop(elements.remove(place)),
            1 => elements.push(elements[place].clone()),
            2 => elements.swap(place, other),
            3 => {
                elements[place] =
                    elements[place].replace("v1=", ["v0=", "v2=", "v1", "V1=", "v1 =", "v11="][self.below(6)]);
            }
            4 => {
                elements[place] =
                    elements[place].replace("t=", ["T=", "time=", "t", "t==", "t=-", "t=0", "t= "][self.below(7)]);
            }
            5 => elements
                .insert(place, ["v0=00", "v1=", "v1=zz", "=", "", "t=", "t=1", "scheme=v1"][self.below(8)].to_owned()),
            6 => elements.insert(place, format!("v1={}", "0".repeat(self.below(130)))),
            7 => elements[place] = elements[place].to_uppercase(),
            _ => elements[place] = format!(" {} ", elements[place]),
        }
        elements.join(",")
    }
}

fn hex_mac(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn header(secret: &str, seconds_ago: i64, body: &[u8]) -> String {
    let timestamp = moment(seconds_ago).as_second().to_string();
    format!("t={timestamp},v1={}", hex_mac(secret, &timestamp, body))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Valid,
    /// Too close to the edge of the age to tell.
    Edge,
    Invalid,
}

/// Stripe's documentation in a few lines: one time, any `v1` that is its HMAC, no older than five minutes.
fn verdict(header: &[u8], body: &[u8]) -> Verdict {
    // A header that is not plain ASCII cannot be what Stripe sent, and a body that is not UTF-8 neither.
    let (Ok(header), Ok(_)) = (std::str::from_utf8(header), std::str::from_utf8(body)) else { return Verdict::Invalid };
    if !header.bytes().all(|byte| (32..127).contains(&byte)) {
        return Verdict::Invalid;
    }
    let named = |name: &str| -> Vec<&str> {
        let pairs = header.split(',').filter_map(|element| element.split_once('='));
        pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).collect()
    };
    let times = named("t");
    let Some(time) = times.first().filter(|first| times.iter().all(|time| time == *first)) else {
        return Verdict::Invalid;
    };
    let is_number = !time.is_empty() && time.len() <= 12 && time.bytes().all(|byte| byte.is_ascii_digit());
    let expected = hex_mac(WEBHOOK_SECRET, time, body);
    if !is_number || !named("v1").iter().any(|given| given.to_lowercase() == expected) {
        return Verdict::Invalid;
    }
    let age = moment(0).as_second() - time.parse::<i64>().unwrap();
    match age {
        TOO_OLD.. => Verdict::Invalid,
        SURELY_YOUNG.. => Verdict::Edge,
        _ => Verdict::Valid,
    }
}

/// A delivery, changed somehow.
fn changed(dice: &mut Dice, good_body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut body = good_body.to_vec();
    let mut signature = header(WEBHOOK_SECRET, 0, &body).into_bytes();
    match dice.below(12) {
        0..=2 => {
            for _ in 0..=dice.below(3) {
                dice.bytes(&mut body, Dice::byte);
            }
        }
        3..=4 => {
            for _ in 0..=dice.below(3) {
                dice.bytes(&mut signature, Dice::visible);
            }
        }
        5..=6 => {
            for _ in 0..=dice.below(4) {
                signature = dice.elements(&String::from_utf8(signature).unwrap()).into_bytes();
            }
        }
        // Old ones, by seconds and by years; and those ahead, of which only the signature decides.
        7 => signature = header(WEBHOOK_SECRET, 301 + i64::try_from(dice.below(1 << 30)).unwrap(), &body).into_bytes(),
        8 => {
            let ahead = -i64::try_from(dice.below(1 << 20)).unwrap();
            signature = header(["", "whsec_", "whsec_of_somebody_else"][dice.below(3)], ahead, &body).into_bytes();
        }
        // The time moved under a signature that was made for another one.
        9 => {
            let other = moment(i64::try_from(dice.below(600)).unwrap() - 300).as_second();
            let text = String::from_utf8(signature).unwrap();
            signature = format!("t={other},{}", text.split_once(',').unwrap().1).into_bytes();
        }
        10 => {
            let bad = [b"\xff".as_slice(), b"\xc3\x28", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf"][dice.below(5)];
            let place = dice.below(body.len());
            body.splice(place..place, bad.iter().copied());
            // Signed all the same: what is not UTF-8 is not Stripe's, whoever signed it.
            if std::str::from_utf8(&body).is_err() {
                signature = header(WEBHOOK_SECRET, 0, &body).into_bytes();
            }
        }
        _ => {
            let most = if dice.below(10) == 0 { 10_000 } else { 100 };
            let filler = "v1=00,".repeat(dice.below(most));
            let text = String::from_utf8(signature).unwrap().replace("v1=", "v1=0");
            signature = format!("{filler}{text}").into_bytes();
        }
    }
    (signature, body)
}

#[tokio::test]
async fn ten_thousand_changed_deliveries_are_refused_and_none_is_an_error_of_ours() {
    let app = TestApp::start().await;
    let good =
        event("evt_one", "product.created", &json!({ "id": "prod_1", "object": "product", "name": "Crédits ✓" }));
    let good = good.to_string().into_bytes();
    let (mut dice, mut refused, mut valid) = (Dice(20_261_121), 0, Vec::new());
    while refused < REFUSED {
        let mut batch = Vec::with_capacity(AT_ONCE);
        while batch.len() < AT_ONCE {
            let (signature, body) = changed(&mut dice, &good);
            let Ok(value) = HeaderValue::from_bytes(&signature) else { continue };
            match verdict(&signature, &body) {
                Verdict::Valid => valid.push((signature, body)),
                Verdict::Edge => {}
                Verdict::Invalid => {
                    let request = app.client.post(app.address("/webhooks/stripe")).header("Stripe-Signature", value);
                    batch.push(async { (request.body(body.clone()).send().await, signature, body) });
                }
            }
        }
        for (answer, signature, body) in join_all(batch).await {
            let shown = || format!("{} {}", String::from_utf8_lossy(&signature), String::from_utf8_lossy(&body));
            let status = answer.unwrap_or_else(|error| panic!("{error} {}", shown())).status().as_u16();
            // 431: a header larger than any is read at all.
            assert!(status == 400 || (status == 431 && signature.len() > 8_192), "{status} {}", shown());
            refused += 1;
        }
    }
    assert_eq!(app.stored_events().await, 0, "a refused delivery left a row");
    assert!(valid.len() > 100, "the dice never left a delivery valid: {}", valid.len());
    for (signature, body) in valid {
        if verdict(&signature, &body) != Verdict::Valid {
            continue;
        }
        let answer = app.deliver(&body, Some(std::str::from_utf8(&signature).unwrap())).await;
        assert_eq!(answer.0, 200, "{} {}", String::from_utf8_lossy(&signature), answer.1);
    }
    assert_eq!(app.stored_events().await, 1, "one event, however it was signed");
    app.finish().await;
}
