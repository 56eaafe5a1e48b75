//! Mistakes of form: in the token's parts, its header, its JSON, and in sets of keys.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_attest::token::{MAX_TOKEN, TokenAnchors};
use serde_json::{Value, json};

use crate::issuer::NOON;
use crate::made::{ISSUER, POLICY, PROVIDER, vm};
use crate::{Case, answer, any};

pub(crate) const FORMS: &[Case] = &[
    ("TOK-01: nothing", || bytes(b""), "token.parts"),
    ("TOK-01: two parts", || bytes(b"e30.e30"), "token.parts"),
    ("TOK-01: four parts", || bytes(b"e30.e30.e30.e30"), "token.parts"),
    ("TOK-01: no text", || bytes(b"\xff.\xff.\xff"), "token.parts"),
    ("TOK-01: white space around it", || changed(|token| format!("\n {token}\r\n")), VERIFIED),
    ("TOK-01: padding", || changed(|token| format!("{token}=")), "token.encoding"),
    ("TOK-01: a space within", || changed(|token| token.replacen('.', ". ", 1)), "token.encoding"),
    (
        "TOK-01: standard base64",
        || changed(|_| format!("{}.e30.e30", STANDARD.encode(r#"{"alg":"RS256","kid":"~~~?"}"#))),
        "token.encoding",
    ),
    ("TOK-01: bits left over", bits_left_over, "token.encoding"),
    ("TOK-01: too long", || bytes(&vec![b'e'; MAX_TOKEN + 1]), "token.too-long"),
    ("TOK-01: 10 MiB", || bytes(&vec![b'.'; 10 * 1024 * 1024]), "token.too-long"),
    ("TOK-01: a header that is no object", || header_text("[]"), "token.json"),
    ("TOK-01: a header with a member twice", || header_text(r#"{"alg":"RS256","alg":"none"}"#), "token.json"),
    ("TOK-01: something after the header's object", || header_text(r#"{"alg":"RS256"}{}"#), "token.json"),
    ("TOK-01: claims with a member twice", || claims_text(r#"{"iss":"a","iss":"b"}"#), "token.json"),
    (
        "TOK-01: claims with an inner member twice",
        || claims_text(r#"{"iss":"a","b":{"c":1,"c":1}}"#),
        "token.json",
    ),
    ("TOK-01: nesting", || claims_text(&"[".repeat(60_000)), "token.json"),
    ("TOK-01: nesting in objects", || claims_text(&r#"{"a":"#.repeat(10_000)), "token.json"),
    ("TOK-02: alg none", || header(json!({"alg": "none", "kid": "test"})), "token.algorithm"),
    ("TOK-02: alg None", || header(json!({"alg": "None"})), "token.algorithm"),
    ("TOK-02: a keyed hash", || header(json!({"alg": "HS256", "kid": "test"})), "token.algorithm"),
    ("TOK-02: RS384", || header(json!({"alg": "RS384", "kid": "test"})), "token.algorithm"),
    ("TOK-02: PS256", || header(json!({"alg": "PS256", "kid": "test"})), "token.algorithm"),
    ("TOK-02: no algorithm", || header(json!({"kid": "test"})), "token.header-member"),
    ("TOK-02: an algorithm that is no text", || header(json!({"alg": 1})), "token.header-member"),
    ("TOK-03: crit", || header(json!({"alg": "RS256", "kid": "test", "crit": ["exp"]})), "token.header"),
    ("TOK-03: b64", || header(json!({"alg": "RS256", "kid": "test", "b64": false})), "token.header"),
    ("TOK-03: jwk", || header(json!({"alg": "RS256", "kid": "test", "jwk": {}})), "token.header"),
    (
        "TOK-03: x5u",
        || header(json!({"alg": "RS256", "kid": "test", "x5u": "https://a.example"})),
        "token.header",
    ),
    (
        "TOK-03: an unknown member",
        || header(json!({"alg": "RS256", "kid": "test", "zip": "DEF"})),
        "token.header",
    ),
    ("TOK-03: another type", || header(json!({"alg": "RS256", "typ": "at+jwt"})), "token.header-member"),
    ("TOK-03: a name that is no text", || header(json!({"alg": "RS256", "kid": 1})), "token.header-member"),
    (
        "TOK-03: certificates that are none",
        || header(json!({"alg": "RS256", "x5c": "a"})),
        "token.header-member",
    ),
    ("TOK-03: no certificate", || header(json!({"alg": "RS256", "x5c": []})), "token.header-member"),
    (
        "TOK-03: a thousand certificates",
        || header(json!({"alg": "RS256", "x5c": vec!["AA=="; 1000]})),
        "token.header-member",
    ),
    ("TOK-04: an unknown issuer", || issuer("https://accounts.google.com"), "token.kind"),
    ("TOK-04: no issuer", || claims_text("{}"), "token.kind"),
    (
        "TOK-04: Google's name with a path",
        || issuer("https://confidentialcomputing.googleapis.com/"),
        "token.kind",
    ),
    ("TOK-04: Azure's domain as a path", || issuer("https://a.example/.attest.azure.net"), "token.kind"),
    ("TOK-04: Azure's domain as a user's", || issuer("https://a@b.attest.azure.net"), "token.kind"),
    ("TOK-04: Azure's domain without a name", || issuer("https://.attest.azure.net"), "token.kind"),
    ("TOK-04: Azure's domain without TLS", || issuer("http://a.attest.azure.net"), "token.kind"),
    (
        "TOK-04: a domain that begins like Azure's",
        || issuer("https://a.attest.azure.net.example"),
        "token.kind",
    ),
    ("a signature of zeros", || changed(|token| with_signature(token, &[0; 256])), "token.signature"),
    ("an empty signature", || changed(|token| with_signature(token, &[])), "token.signature"),
    ("a longer signature", || changed(|token| with_signature(token, &[1; 512])), "token.signature"),
    ("keys: not JSON", || keys("{"), "jwks.json"),
    ("keys: a member twice", || keys(r#"{"keys":[],"keys":[]}"#), "jwks.json"),
    ("keys: no list", || keys("{}"), "jwks.no-keys"),
    ("keys: an empty list", || keys(r#"{"keys":[]}"#), "jwks.no-keys"),
    ("keys: of a symmetric kind", || keys(r#"{"keys":[{"kty":"oct","kid":"a","k":"AA"}]}"#), "jwks.key"),
    ("keys: without a name", || key(|k| drop(k.as_object_mut().unwrap().remove("kid"))), "jwks.key"),
    ("keys: an exponent that is no base64", || key(|k| k["e"] = json!("=")), "jwks.key"),
    (
        "keys: of a curve that is not known",
        || keys(r#"{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA","kid":"a"}]}"#),
        "jwks.key",
    ),
    (
        "keys: a point of another length",
        || keys(r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"a"}]}"#),
        "jwks.key",
    ),
    ("keys: two of a name", two_keys, "jwks.duplicate"),
    ("keys: too long", || keys(&" ".repeat(1024 * 1024 + 1)), "jwks.too-long"),
    ("keys: only for encryption", || key(|k| k["use"] = json!("enc")), "jwks.no-keys"),
    ("keys: for another algorithm", || key(|k| k["alg"] = json!("PS256")), "jwks.purpose"),
    ("keys: for an algorithm that is no text", || key(|k| k["alg"] = json!(["RS256"])), "jwks.purpose"),
    ("keys: for the algorithm of another kind of key", || key(|k| k["alg"] = json!("ES256")), "jwks.purpose"),
    ("keys: without an algorithm", || without("alg"), "understood"),
    ("keys: of an unknown use", || key(|k| k["use"] = json!("tls")), "jwks.purpose"),
    ("keys: of a use that is no text", || key(|k| k["use"] = json!(["sig"])), "jwks.purpose"),
    ("keys: of no stated use", || without("use"), "understood"),
    ("keys: to verify", || operations(json!(["verify"])), "understood"),
    ("keys: to sign and verify", || operations(json!(["sign", "verify"])), "understood"),
    ("keys: to sign only", || operations(json!(["sign"])), "jwks.purpose"),
    ("keys: to wrap other keys", || operations(json!(["wrapKey", "unwrapKey"])), "jwks.purpose"),
    ("keys: to do nothing", || operations(json!([])), "jwks.purpose"),
    ("keys: to verify twice", || operations(json!(["verify", "verify"])), "jwks.purpose"),
    ("keys: to verify and a number", || operations(json!(["verify", 1])), "jwks.purpose"),
    ("keys: operations that are no list", || operations(json!("verify")), "jwks.purpose"),
    ("keys: nothing wrong", || key(|_| ()), "understood"),
];

const VERIFIED: &str = "verified, waived: MAA-19";

fn good() -> String {
    ISSUER.sign(&json!({"alg": "RS256", "kid": "test"}), &vm())
}

fn bytes(token: &[u8]) -> String {
    answer(token, &ISSUER.anchors(PROVIDER), NOON, POLICY, &any())
}

fn changed(change: impl Fn(&str) -> String) -> String {
    bytes(change(&good()).as_bytes())
}

fn header(members: Value) -> String {
    header_text(&members.to_string())
}

fn header_text(text: &str) -> String {
    bytes(ISSUER.sign_text(text, &vm().to_string()).as_bytes())
}

fn claims_text(text: &str) -> String {
    bytes(ISSUER.sign_text(r#"{"alg":"RS256","kid":"test"}"#, text).as_bytes())
}

fn issuer(name: &str) -> String {
    claims_text(&json!({"iss": name}).to_string())
}

fn with_signature(token: &str, signature: &[u8]) -> String {
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// 256 bytes leave four bits in the last character.
fn bits_left_over() -> String {
    changed(|token| {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = *token.as_bytes().last().expect("a character");
        let index = ALPHABET.iter().position(|&one| one == last).expect("of the alphabet");
        let other = ALPHABET[index ^ 1];
        format!("{}{}", &token[..token.len() - 1], char::from(other))
    })
}

fn keys(text: &str) -> String {
    match TokenAnchors::none().with_jwks(PROVIDER, text.as_bytes()) {
        Ok(_) => "understood".to_owned(),
        Err(error) => error.code().to_owned(),
    }
}

fn key(change: impl Fn(&mut Value)) -> String {
    let mut set = ISSUER.jwks();
    change(&mut set["keys"][0]);
    keys(&set.to_string())
}

fn two_keys() -> String {
    let mut set = ISSUER.jwks();
    let copy = set["keys"][0].clone();
    set["keys"].as_array_mut().expect("a list").push(copy);
    keys(&set.to_string())
}

fn without(member: &str) -> String {
    key(|k| drop(k.as_object_mut().expect("an object").remove(member)))
}

fn operations(list: Value) -> String {
    key(|k| k["key_ops"] = list.clone())
}
