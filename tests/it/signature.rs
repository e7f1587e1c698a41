#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use creditd::stripe::signature::{EmptySecret, Secret, SignatureError, Tolerance, sign, verify};
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;

const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
const SIGNED_AT: i64 = 1_790_000_000;

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn header() -> String {
    sign(BODY, &secret("whsec_one"), at(SIGNED_AT))
}

fn hex_of(header: &str) -> String {
    header.split_once(",v1=").unwrap().1.to_owned()
}

fn check(header: &str) -> Result<usize, SignatureError> {
    let secrets = [secret("whsec_one"), secret("whsec_two")];
    verify(BODY, Some(header), &secrets, at(SIGNED_AT), &Tolerance::default()).map(|found| found.secret_index)
}

#[test]
fn a_known_answer_computed_outside_this_program_is_accepted() {
    // printf '1790000000.{"id":"evt_1","object":"event"}' | openssl dgst -sha256 -hmac whsec_one
    let known = "c434d342b82d408faebefc65380da5c652150a3c8eb6caa39bba9da5237edfc5";
    assert_eq!(header(), format!("t=1790000000,v1={known}"));
    assert_eq!(check(&format!("t=1790000000,v1={known}")), Ok(0));
}

#[rstest]
#[case::spaces(" t = {t} , v1 = {v1} ")]
#[case::upper_hex("t={t},v1={V1}")]
#[case::v0_beside("t={t},v0=aa,v1={v1}")]
#[case::unknown_and_stray("scheme=x,stray,,=,t={t},v1={v1},v9=1,")]
#[case::order("v1={v1},t={t}")]
#[case::good_after_bad("t={t},v1=00,v1=zz,v1={v1}")]
#[case::good_before_bad("t={t},v1={v1},v1=00")]
#[case::same_t_twice("t={t},t={t},v1={v1}")]
fn accepted_headers(#[case] form: &str) {
    let v1 = hex_of(&header());
    let text = form.replace("{t}", "1790000000").replace("{v1}", &v1).replace("{V1}", &v1.to_uppercase());
    assert_eq!(check(&text), Ok(0), "{text}");
}

#[rstest]
#[case::empty("", "signature_timestamp_missing")]
#[case::no_t("v1={v1}", "signature_timestamp_missing")]
#[case::word_t("t=soon,v1={v1}", "signature_timestamp_invalid")]
#[case::empty_t("t=,v1={v1}", "signature_timestamp_invalid")]
#[case::signed_t("t=+1790000000,v1={v1}", "signature_timestamp_invalid")]
#[case::negative_t("t=-1790000000,v1={v1}", "signature_timestamp_invalid")]
#[case::fraction_t("t=1790000000.5,v1={v1}", "signature_timestamp_invalid")]
#[case::huge_t("t=99999999999999999999,v1={v1}", "signature_timestamp_invalid")]
#[case::year_too_far("t=999999999999,v1={v1}", "signature_timestamp_invalid")]
#[case::two_t("t={t},t=1790000001,v1={v1}", "signature_timestamp_invalid")]
#[case::no_v1("t={t}", "signature_v1_missing")]
#[case::only_v0("t={t},v0={v1}", "signature_v1_missing")]
#[case::upper_v1_key("t={t},V1={v1}", "signature_v1_missing")]
#[case::wrong("t={t},v1=0000000000000000000000000000000000000000000000000000000000000000", "signature_mismatch")]
#[case::empty_v1("t={t},v1=", "signature_mismatch")]
#[case::longer("t={t},v1={v1}00", "signature_mismatch")]
#[case::other_t("t=1790000001,v1={v1}", "signature_mismatch")]
#[case::leading_zero("t=01790000000,v1={v1}", "signature_mismatch")]
fn refused_headers(#[case] form: &str, #[case] code: &str) {
    let text = form.replace("{t}", "1790000000").replace("{v1}", &hex_of(&header()));
    assert_eq!(check(&text).unwrap_err().code(), code, "{text}");
}

#[test]
fn during_rotation_either_secret_alone_accepts_the_header_that_carries_both() {
    let second = sign(BODY, &secret("whsec_two"), at(SIGNED_AT));
    let both = format!("{},v1={}", header(), hex_of(&second));
    for text in ["whsec_one", "whsec_two"] {
        assert!(verify(BODY, Some(&both), &[secret(text)], at(SIGNED_AT), &Tolerance::default()).is_ok());
    }
    assert_eq!(check(&second), Ok(1), "the index names the secret that matched");
}

#[rstest]
#[case::on_time(0, Ok(None))]
#[case::oldest(300, Ok(None))]
#[case::too_old(301, Err("signature_too_old"))]
#[case::ahead(-1, Ok(Some(1)))]
#[case::far_ahead(-4_000, Ok(Some(4_000)))]
fn age(#[case] seconds: i64, #[case] expected: Result<Option<i64>, &str>) {
    let now = at(SIGNED_AT + seconds);
    let verdict = verify(BODY, Some(&header()), &[secret("whsec_one")], now, &Tolerance::default());
    assert_eq!(verdict.map(|found| found.future_seconds).map_err(|error| error.code()), expected);
}

#[rstest]
#[case(-300, Ok(Some(300)))]
#[case(-301, Err("signature_too_far_ahead"))]
#[case(301, Err("signature_too_old"))]
fn the_strict_switch(#[case] seconds: i64, #[case] expected: Result<Option<i64>, &str>) {
    let now = at(SIGNED_AT + seconds);
    let verdict = verify(BODY, Some(&header()), &[secret("whsec_one")], now, &Tolerance::strict());
    assert_eq!(verdict.map(|found| found.future_seconds).map_err(|error| error.code()), expected);
}

#[test]
fn what_is_not_about_the_header() {
    let now = at(SIGNED_AT);
    let one = [secret("whsec_one")];
    let policy = Tolerance::default();
    assert_eq!(verify(BODY, None, &one, now, &policy), Err(SignatureError::MissingHeader));
    assert_eq!(verify(BODY, Some(&header()), &[], now, &policy), Err(SignatureError::NoSecret));
    let other = verify(BODY, Some(&header()), &[secret("whsec_of_test_mode")], now, &policy);
    assert_eq!(other, Err(SignatureError::Mismatch));
    // Rightly signed, but no text: Stripe never writes such a body.
    let bytes = b"{\"id\":\"\xff\"}";
    let signed = sign(bytes, &one[0], now);
    assert_eq!(verify(bytes, Some(&signed), &one, now, &policy), Err(SignatureError::BodyNotUtf8));
}

#[test]
fn a_secret_is_never_shown_and_never_empty() {
    assert_eq!(format!("{:?}", secret("whsec_one")), "Secret([redacted])");
    assert_eq!(Secret::new(" \n").unwrap_err(), EmptySecret);
    let trimmed = sign(BODY, &secret("  whsec_one\n"), at(SIGNED_AT));
    assert_eq!(trimmed, header());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// F29: whatever byte of the body changes, the signature no longer holds.
    #[test]
    fn a_changed_body_is_refused(index in 0..BODY.len(), byte in any::<u8>(), cut in 0..=BODY.len(), how in 0..3_u8) {
        let mut body = BODY.to_vec();
        match how {
            0 => body[index] = byte,
            1 => body.insert(index, byte),
            _ => body.truncate(cut),
        }
        prop_assume!(body != BODY);
        let verdict = verify(&body, Some(&header()), &[secret("whsec_one")], at(SIGNED_AT), &Tolerance::default());
        prop_assert!(matches!(verdict, Err(SignatureError::Mismatch | SignatureError::BodyNotUtf8)));
    }

    /// F29: a changed header is refused, unless it still says the same `t` and the same signature.
    #[test]
    fn a_changed_header_says_the_same_or_is_refused(index in 0..80_usize, letter in proptest::char::range(' ', '~'), how in 0..3_u8) {
        let mut text: Vec<char> = header().chars().collect();
        let index = index.min(text.len() - 1);
        match how {
            0 => text[index] = letter,
            1 => text.insert(index, letter),
            _ => drop(text.remove(index)),
        }
        let text: String = text.into_iter().collect();
        if check(&text).is_ok() {
            let elements: Vec<(String, String)> = text
                .split(',')
                .filter_map(|element| element.split_once('='))
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_lowercase()))
                .collect();
            let has = |key: &str, value: &str| elements.iter().any(|(k, v)| k == key && v == value);
            prop_assert!(has("t", "1790000000") && has("v1", &hex_of(&header())), "{}", text);
        }
    }

    /// No text makes the verifier panic or accept.
    #[test]
    fn noise_is_refused(text in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let verdict = verify(&body, Some(&text), &[secret("whsec_one")], at(SIGNED_AT), &Tolerance::default());
        prop_assert!(verdict.is_err());
    }

    /// What we sign we accept, and only with the secret it was signed with.
    #[test]
    fn signing_and_verifying_agree(body in ".{0,200}", second in 0..253_000_000_000_i64) {
        let text = sign(body.as_bytes(), &secret("whsec_one"), at(second));
        let now = at(second);
        prop_assert!(verify(body.as_bytes(), Some(&text), &[secret("whsec_one")], now, &Tolerance::strict()).is_ok());
        prop_assert!(verify(body.as_bytes(), Some(&text), &[secret("whsec_two")], now, &Tolerance::strict()).is_err());
    }
}
