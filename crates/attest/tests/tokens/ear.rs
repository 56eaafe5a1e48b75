//! EAT attestation results: as our broker writes them and as Trustee does, one mistake each, under keys of the test's own.
//! No attestation result of a deployed verifier was recorded.

use std::sync::LazyLock;

use casemate_attest::token::{Token, TokenAnchors, TokenBinding};
use serde_json::{Value, json};

use crate::curve::CurveKey;
use crate::issuer::{Issuer, NOON};
use crate::{Case, answer, any, nonce};

const ISSUER: &str = "https://broker.test";
const POLICY: &str = include_str!("../policies/ear.toml");
const TRUSTEE_PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
/// Two submodules of a verifier that names its policy.
const TRUSTEE: &str = r#"
[ear]
issuers = ["trustee"]
profiles = ["tag:github.com,2024:confidential-containers/Trustee"]
developers = ["https://confidentialcontainers.org"]
submodules = ["cpu0", "gpu0"]
affirmed = ["hardware"]
appraisal-policies = ["default"]
"#;

static KEY: LazyLock<CurveKey> = LazyLock::new(CurveKey::es256);

/// As crates/broker writes it, of a machine that is not simulated.
fn result() -> Value {
    json!({
        "iss": ISSUER, "iat": NOON.0, "nbf": NOON.0, "exp": NOON.0 + 300, "jti": "00".repeat(16),
        "eat_profile": "tag:casemate.dev,2026:broker-ear/1",
        "eat_nonce": "b3VycyBhbmQgbm9ib2R5IGVsc2UncyBub25jZQ",
        "ear.verifier-id": {"developer": "https://casemate.dev", "build": "casemate-broker 0.1.0"},
        "cnf": {"jwk": {"kty": "EC"}},
        "casemate": {"simulated": false},
        "submods": {"cpu0": {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": {
                "instance-identity": 2, "configuration": 2, "executables": 0, "file-system": 0,
                "hardware": 2, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0,
            },
            "ear.veraison.annotated-evidence": {},
        }},
    })
}

/// As confidential-containers Trustee writes it: neither `iss`, `nbf`, `eat_nonce` nor `kid`.
fn trustee() -> Value {
    let appraisal = |hardware: i64| {
        json!({
            "ear.status": "affirming",
            "ear.trustworthiness-vector": {"hardware": hardware, "executables": 3, "configuration": 2},
            "ear.appraisal-policy-id": "default",
            "ear.veraison.annotated-evidence": {},
        })
    };
    json!({
        "iat": NOON.0, "exp": NOON.0 + 300, "eat_profile": TRUSTEE_PROFILE,
        "ear.verifier-id": {"developer": "https://confidentialcontainers.org", "build": "attestation-service 0.1.0"},
        "submods": {"cpu0": appraisal(2), "gpu0": appraisal(2)},
    })
}

fn ours(text: &str) -> TokenBinding {
    nonce(text)
}

fn anchors() -> TokenAnchors {
    TokenAnchors::none().with_jwks(ISSUER, &KEY.jwks()).expect("keys").danger_simulated()
}

/// As our broker's header: with its key, which nobody looks at.
fn header() -> Value {
    json!({"typ": "JWT", "alg": "ES256", "kid": "test", "jwk": KEY.jwk("test")})
}

fn under(policy: &str, header: &Value, change: impl Fn(&mut Value)) -> String {
    let mut claims = result();
    change(&mut claims);
    let token = KEY.sign(header, &claims);
    let nonce = ours("b3VycyBhbmQgbm9ib2R5IGVsc2UncyBub25jZQ");
    answer(token.as_bytes(), &anchors(), NOON, policy, &nonce)
}

fn ear(change: impl Fn(&mut Value)) -> String {
    under(POLICY, &header(), change)
}

fn cpu(change: impl Fn(&mut Value)) -> String {
    ear(|claims| change(&mut claims["submods"]["cpu0"]))
}

fn vector(claim: &str, value: Value) -> String {
    cpu(|cpu| cpu["ear.trustworthiness-vector"][claim] = value.clone())
}

fn allowed(change: impl Fn(&mut Value)) -> String {
    let policy = format!("{POLICY}not-affirming = {{ danger-allow = \"a test machine\" }}\n");
    under(&policy, &header(), |claims| change(&mut claims["submods"]["cpu0"]))
}

fn of_trustee(anchors: &TokenAnchors, change: impl Fn(&mut Value)) -> String {
    let mut claims = trustee();
    change(&mut claims);
    let token = KEY.sign(&json!({"typ": "JWT", "alg": "ES256", "jwk": KEY.jwk("theirs")}), &claims);
    answer(token.as_bytes(), anchors, NOON, TRUSTEE, &any())
}

fn named_trustee() -> TokenAnchors {
    TokenAnchors::none().with_jwks("trustee", &KEY.jwks()).expect("keys")
}

const VERIFIED: &str = "verified, waived: EAR-13";

pub(crate) const EAR: &[Case] = &[
    ("EAR: nothing wrong", || ear(|_| ()), VERIFIED),
    ("EAR: ES384", es384, VERIFIED),
    ("EAR: of one kind", kind, "ear"),
    ("EAR-01: a member twice", twice, "token.json"),
    ("EAR-01: alg none", || under(POLICY, &json!({"alg": "none"}), |_| ()), "token.algorithm"),
    ("EAR-01: no profile", || ear(|c| without(c, "eat_profile")), "token.kind"),
    ("EAR-01: no verifier", || ear(|c| without(c, "ear.verifier-id")), "token.kind"),
    ("EAR-01: no submodules", || ear(|c| without(c, "submods")), "token.kind"),
    (
        "EAR-01: an address of certificates",
        || under(POLICY, &json!({"alg": "ES256", "kid": "test", "x5u": "https://a.example"}), |_| ()),
        "token.header",
    ),
    (
        "EAR-02: an unknown key",
        || under(POLICY, &json!({"alg": "ES256", "kid": "other"}), |_| ()),
        "token.key",
    ),
    (
        "EAR-02: no key is named, and there is one",
        || under(POLICY, &json!({"alg": "ES256"}), |_| ()),
        VERIFIED,
    ),
    ("EAR-02: no key is named, and there are two", two_keys, "token.key-unnamed"),
    ("EAR-02: another issuer", || ear(|c| c["iss"] = json!("https://other.test")), "token.issuer"),
    ("EAR-02: an issuer that is no text", || ear(|c| c["iss"] = json!(1)), "token.issuer"),
    ("EAR-02: an issuer that is null", || ear(|c| c["iss"] = Value::Null), "token.issuer"),
    ("EAR-02: RS256", rs256, "token.algorithm-of-issuer"),
    ("EAR-03: the key of the header", own_key, "token.signature"),
    (
        "EAR-03: ES384 with a key on P-256",
        || under(POLICY, &json!({"alg": "ES384", "kid": "test"}), |_| ()),
        "token.signature",
    ),
    ("EAR-04: expired", || ear(|c| c["exp"] = json!(NOON.0)), "token.expired"),
    ("EAR-04: early", || ear(|c| c["nbf"] = json!(NOON.0 + 61)), "token.not-yet-valid"),
    ("EAR-04: made later", || ear(|c| c["iat"] = json!(NOON.0 + 61)), "token.not-yet-valid"),
    ("EAR-04: without nbf", || ear(|c| without(c, "nbf")), VERIFIED),
    ("EAR-04: nbf as text", || ear(|c| c["nbf"] = json!("0")), "token.time-missing"),
    ("EAR-04: without exp", || ear(|c| without(c, "exp")), "token.time-missing"),
    ("EAR-04: without iat", || ear(|c| without(c, "iat")), "token.time-missing"),
    (
        "EAR-05: no table",
        || under(include_str!("../policies/nitro.toml"), &header(), |_| ()),
        "policy.platform-not-accepted",
    ),
    (
        "EAR-06: a verifier that the policy does not name",
        || under(&POLICY.replace("//broker.test", "//other.test"), &header(), |_| ()),
        "ear.issuer.not-accepted",
    ),
    ("EAR-07: another profile", || ear(|c| c["eat_profile"] = json!(TRUSTEE_PROFILE)), PROFILE),
    (
        "EAR-08: another developer",
        || ear(|c| c["ear.verifier-id"]["developer"] = json!("them")),
        "ear.developer.not-accepted",
    ),
    (
        "EAR-08: no developer",
        || ear(|c| without(&mut c["ear.verifier-id"], "developer")),
        "ear.developer.not-accepted",
    ),
    ("EAR-08: no build", || ear(|c| without(&mut c["ear.verifier-id"], "build")), "ear.verifier.unnamed"),
    ("EAR-09: a submodule is missing", || ear(|c| without(&mut c["submods"], "cpu0")), SUBMODULES),
    ("EAR-09: a submodule too many", || ear(|c| c["submods"]["gpu0"] = json!({})), SUBMODULES),
    ("EAR-09: a submodule that is a token", || ear(|c| c["submods"]["cpu0"] = json!("e30")), SUBMODULES),
    ("EAR-10: as a number", || cpu(|c| c["ear.status"] = json!(2)), VERIFIED),
    ("EAR-10: a warning", || cpu(|c| c["ear.status"] = json!("warning")), STATUS),
    ("EAR-10: a warning as a number", || cpu(|c| c["ear.status"] = json!(32)), STATUS),
    ("EAR-10: contraindicated", || cpu(|c| c["ear.status"] = json!("contraindicated")), STATUS),
    ("EAR-10: none", || cpu(|c| c["ear.status"] = json!("none")), STATUS),
    ("EAR-10: an unknown word", || cpu(|c| c["ear.status"] = json!("Affirming")), STATUS),
    ("EAR-10: a number without a meaning", || cpu(|c| c["ear.status"] = json!(3)), STATUS),
    ("EAR-10: silent", || cpu(|c| without(c, "ear.status")), STATUS),
    (
        "EAR-10: the names of draft 04",
        || {
            cpu(|c| {
                without(c, "ear.status");
                c["ear_status"] = json!(2);
            })
        },
        STATUS,
    ),
    (
        "EAR-10: a warning, in writing",
        || allowed(|c| c["ear.status"] = json!("warning")),
        "verified, waived: EAR-10, EAR-13",
    ),
    (
        "EAR-10: contraindicated, whatever is written",
        || allowed(|c| c["ear.status"] = json!("contraindicated")),
        STATUS,
    ),
    ("EAR-11: a warning below an affirming status", || vector("executables", json!(33)), VECTOR),
    ("EAR-11: contraindicated below an affirming status", || vector("file-system", json!(96)), VECTOR),
    ("EAR-11: a verifier's own number", || vector("executables", json!(-2)), VERIFIED),
    ("EAR-11: a verifier's own warning", || vector("executables", json!(-33)), VECTOR),
    ("EAR-11: an unknown claim is judged too", || vector("firmware", json!(99)), VECTOR),
    ("EAR-11: a number of more than one octet", || vector("executables", json!(130)), VECTOR),
    ("EAR-11: no number", || vector("executables", json!("2")), VECTOR),
    ("EAR-11: no object", || cpu(|c| c["ear.trustworthiness-vector"] = json!([2])), VECTOR),
    (
        "EAR-11: a warning, in writing",
        || allowed(|c| c["ear.trustworthiness-vector"]["executables"] = json!(33)),
        "verified, waived: EAR-11, EAR-13",
    ),
    (
        "EAR-11: contraindicated, whatever is written",
        || allowed(|c| c["ear.trustworthiness-vector"]["executables"] = json!(99)),
        VECTOR,
    ),
    ("EAR-12: hardware is not judged", || vector("hardware", json!(0)), AFFIRMED),
    ("EAR-12: hardware cannot be judged", || vector("hardware", json!(-1)), AFFIRMED),
    (
        "EAR-12: hardware is not spoken of",
        || cpu(|c| without(&mut c["ear.trustworthiness-vector"], "hardware")),
        AFFIRMED,
    ),
    ("EAR-12: no vector", || cpu(|c| without(c, "ear.trustworthiness-vector")), AFFIRMED),
    (
        "EAR-12: no vector, and nothing asked for in writing",
        || {
            let asked = r#"affirmed = ["instance-identity", "configuration", "hardware"]"#;
            let policy = POLICY.replace(asked, "affirmed = { any = \"a test\" }");
            under(&policy, &header(), |c| without(&mut c["submods"]["cpu0"], "ear.trustworthiness-vector"))
        },
        "verified, waived: EAR-12, EAR-13",
    ),
    ("EAR-14: another nonce", || ear(|c| c["eat_nonce"] = json!("theirs and nobody else's")), "token.nonce"),
    ("EAR-14: no nonce", || ear(|c| without(c, "eat_nonce")), "token.nonce"),
    ("Trustee: nothing wrong", || of_trustee(&named_trustee(), |_| ()), "verified, waived: EAR-14"),
    (
        "Trustee: without iss, and two issuers are named",
        || of_trustee(&named_trustee().with_jwks("other", &KEY.jwks()).expect("keys"), |_| ()),
        "token.issuer",
    ),
    (
        "Trustee: without iss, of an issuer that the policy does not name",
        || of_trustee(&TokenAnchors::none().with_jwks("other", &KEY.jwks()).expect("keys"), |_| ()),
        "ear.issuer.not-accepted",
    ),
    (
        "Trustee: the CPU is affirmed and the GPU is not",
        || of_trustee(&named_trustee(), |c| c["submods"]["gpu0"]["ear.status"] = json!("warning")),
        STATUS,
    ),
    (
        "Trustee: the GPU's hardware is not judged",
        || {
            let hardware =
                |c: &mut Value| c["submods"]["gpu0"]["ear.trustworthiness-vector"]["hardware"] = json!(0);
            of_trustee(&named_trustee(), hardware)
        },
        AFFIRMED,
    ),
    (
        "Trustee: the GPU is left out",
        || of_trustee(&named_trustee(), |c| without(&mut c["submods"], "gpu0")),
        SUBMODULES,
    ),
    (
        "EAR-13: another policy",
        || of_trustee(&named_trustee(), |c| c["submods"]["gpu0"]["ear.appraisal-policy-id"] = json!("mine")),
        "ear.policy.not-accepted",
    ),
    (
        "EAR-13: no policy",
        || of_trustee(&named_trustee(), |c| without(&mut c["submods"]["cpu0"], "ear.appraisal-policy-id")),
        "ear.policy.not-accepted",
    ),
];

const PROFILE: &str = "ear.profile.not-accepted";
const SUBMODULES: &str = "ear.submodules";
const STATUS: &str = "ear.status";
const VECTOR: &str = "ear.vector";
const AFFIRMED: &str = "ear.affirmed";

fn without(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}

fn kind() -> String {
    Token::parse(KEY.sign(&header(), &result()).as_bytes()).expect("a token").kind().to_string()
}

fn es384() -> String {
    let key = CurveKey::es384();
    let token = key.sign(&key.header(), &result());
    let anchors = TokenAnchors::none().with_jwks(ISSUER, &key.jwks()).expect("keys");
    answer(token.as_bytes(), &anchors, NOON, POLICY, &ours("b3VycyBhbmQgbm9ib2R5IGVsc2UncyBub25jZQ"))
}

fn twice() -> String {
    let text = result().to_string().replacen("{\"", "{\"eat_nonce\":\"another\",\"", 1);
    let token = Issuer::new().sign_text(&json!({"alg": "ES256", "kid": "test"}).to_string(), &text);
    answer(token.as_bytes(), &anchors(), NOON, POLICY, &any())
}

fn two_keys() -> String {
    let set = json!({"keys": [KEY.jwk("one"), CurveKey::es256().jwk("two")]}).to_string();
    let anchors = TokenAnchors::none().with_jwks(ISSUER, set.as_bytes()).expect("keys");
    let token = KEY.sign(&json!({"alg": "ES256"}), &result());
    answer(token.as_bytes(), &anchors, NOON, POLICY, &any())
}

fn rs256() -> String {
    let issuer = Issuer::new();
    let token = issuer.sign(&json!({"alg": "RS256", "kid": "test"}), &result());
    answer(token.as_bytes(), &issuer.anchors(ISSUER), NOON, POLICY, &any())
}

/// A forger's token brings the forger's key.
fn own_key() -> String {
    let forger = CurveKey::es256();
    let header = json!({"alg": "ES256", "kid": "test", "jwk": forger.jwk("test")});
    let token = forger.sign(&header, &result());
    answer(token.as_bytes(), &anchors(), NOON, POLICY, &any())
}

/// For sweeps.
pub(crate) fn token() -> (String, TokenAnchors) {
    (KEY.sign(&header(), &result()), anchors())
}
