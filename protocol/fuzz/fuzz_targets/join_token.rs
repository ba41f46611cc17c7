//! A token that parses is written as it was read, and its `Debug` never shows the JWT.
#![no_main]

use cloudcore_protocol::JoinToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(token) = text.parse::<JoinToken>() else { return };
    assert_eq!(token.expose(), text.trim());
    assert!(!format!("{token:?}").contains(token.expose_jwt()));
});
