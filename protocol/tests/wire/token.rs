//! Join tokens.

use cloudcore_protocol::{JoinToken, TokenError};
use proptest::prelude::*;

/// The contract's own example.
const EXAMPLE: &str = "dab11b0b6882dd33cd715a3bc9fe0bcbefd29daf56904d42d2ccbcc6da1aa361.\
    eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3NjQ0ODA4NzZ9.jgFzkOUfFqF73rRptL7SHGFHcUxV0vy5TF4KFSzNjzI";

#[test]
fn the_contracts_example_is_a_token() {
    let token: JoinToken = EXAMPLE.parse().unwrap();
    assert_eq!(token.ca_hash()[..4], [0xda, 0xb1, 0x1b, 0x0b]);
    assert!(token.expose_jwt().starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
    assert_eq!(token.expose(), EXAMPLE);
}

#[test]
fn a_pasted_line_end_does_no_harm() {
    assert_eq!(format!(" {EXAMPLE}\r\n").parse::<JoinToken>().unwrap().expose(), EXAMPLE);
}

#[test]
fn the_hash_is_of_the_cas_der() {
    let token = JoinToken::new(b"abc", "a.b.c".into()).unwrap();
    assert_eq!(
        token.expose(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.a.b.c"
    );
}

#[test]
fn a_log_sees_the_ca_and_not_the_jwt() {
    let token: JoinToken = EXAMPLE.parse().unwrap();
    let shown = format!("{token:?} {:#?}", Some(&token));
    for part in token.expose_jwt().split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    assert!(shown.contains("dab11b0b"));
}

#[test]
fn what_is_wrong_is_told() {
    let hash = &EXAMPLE[..64];
    let long = format!("{hash}.{}.b.c", "a".repeat(2048));
    for (text, error) in [
        ("", TokenError::Form),
        (hash, TokenError::Form),
        (&EXAMPLE[1..], TokenError::CaHash),
        (&EXAMPLE.to_uppercase(), TokenError::CaHash),
        (&format!("{}é.a.b.c", &hash[..62]), TokenError::CaHash),
        (&format!("{hash}."), TokenError::Jwt),
        (&format!("{hash}.a.b"), TokenError::Jwt),
        (&format!("{hash}.a.b.c.d"), TokenError::Jwt),
        (&format!("{hash}.a..c"), TokenError::Jwt),
        (&format!("{hash}.a.b.c="), TokenError::Jwt),
        (&format!("{hash}.a.b c.d"), TokenError::Jwt),
        (&format!("{hash}.a.b.é"), TokenError::Jwt),
        (&long, TokenError::Jwt),
    ] {
        assert_eq!(text.parse::<JoinToken>().unwrap_err(), error, "{text}");
    }
    assert_eq!(JoinToken::new(b"ca", "not a jwt".into()).unwrap_err(), TokenError::Jwt);
}

proptest! {
    #[test]
    fn a_token_comes_back_as_it_was(
        ca in proptest::collection::vec(any::<u8>(), 0..64),
        jwt in "[A-Za-z0-9_-]{1,40}\\.[A-Za-z0-9_-]{1,80}\\.[A-Za-z0-9_-]{1,60}",
    ) {
        let token = JoinToken::new(&ca, jwt).unwrap();
        prop_assert_eq!(token.expose().parse::<JoinToken>().unwrap(), token);
    }

    #[test]
    fn any_text_is_refused_or_a_token(text in "\\PC{0,200}|[a-f0-9]{60,66}[.][a-zA-Z.]{0,12}") {
        if let Ok(token) = text.parse::<JoinToken>() {
            prop_assert_eq!(token.expose(), text.trim());
        }
    }
}
