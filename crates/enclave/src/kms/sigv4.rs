//! AWS Signature Version 4 (IAM User Guide, "Create a signed AWS API request"), for requests without a query.
//!
//! ```text
//! canonical request   METHOD \n PATH \n (query) \n name:value \n … \n name;… \n hex SHA-256(body)
//! string to sign      AWS4-HMAC-SHA256 \n DATE \n DAY/REGION/SERVICE/aws4_request \n hex SHA-256(canonical request)
//! key                 HMAC(HMAC(HMAC(HMAC("AWS4" secret, DAY), REGION), SERVICE), "aws4_request")
//! ```

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};
use casemate_attest::UnixTime;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::credentials::Credentials;

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Such as it is sent, without anything to encode.
    pub(super) path: &'a str,
    /// In lower case and in order; all of them are signed.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// A time as requests write it, and its day.
pub(super) fn date(now: UnixTime) -> Option<(String, String)> {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(now.0).ok()?).ok()?;
    let day = format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day());
    let time = format!("{day}T{:02}{:02}{:02}Z", at.hour(), at.minute(), at.second());
    Some((time, day))
}

impl Signed<'_> {
    /// The header `Authorization`; `None` where the time cannot be written.
    pub(super) fn authorization(
        &self,
        credentials: &Credentials,
        region: &str,
        service: &str,
        now: UnixTime,
    ) -> Option<String> {
        let (time, day) = date(now)?;
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!("{}\n{}\n\n{headers}\n{names}\n{}", self.method, self.path, hexed(self.body));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hexed(canonical.as_bytes()));
        let secret = Zeroizing::new(format!("AWS4{}", credentials.secret()));
        let mut key = Key::new(HMAC_SHA256, secret.as_bytes());
        for part in [day.as_str(), region, service, "aws4_request"] {
            key = Key::new(HMAC_SHA256, tag(&key, part).as_ref());
        }
        Some(format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            credentials.id(),
            hex::encode(tag(&key, &to_sign))
        ))
    }
}

fn tag(key: &Key, text: &str) -> Tag {
    sign(key, text.as_bytes())
}

fn hexed(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, the time of AWS's examples.
    const THEN: UnixTime = UnixTime(1_440_938_160);

    fn credentials() -> Credentials {
        Credentials::example("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    fn signature(signed: &Signed<'_>, service: &str) -> String {
        let whole = signed.authorization(&credentials(), "us-east-1", service, THEN).unwrap();
        let (front, signature) = whole.split_once("Signature=").unwrap();
        let names: Vec<_> = signed.headers.iter().map(|(name, _)| *name).collect();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={}, ",
            names.join(";")
        );
        assert_eq!(front, expected);
        signature.to_owned()
    }

    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");

    /// AWS's Signature Version 4 test suite: `get-vanilla`, `post-vanilla`, `post-x-www-form-urlencoded`.
    #[test]
    fn aws_examples_have_aws_signatures() {
        let of = |method, headers: &[(&str, &str)], body: &[u8]| {
            signature(&Signed { method, path: "/", headers, body }, "service")
        };
        assert_eq!(
            of("GET", &[HOST, DATE], b""),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            of("POST", &[HOST, DATE], b""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(
            of("POST", &[form, HOST, DATE], b"Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    #[test]
    fn everything_that_is_signed_changes_the_signature() {
        let headers = [HOST, DATE, ("x-amz-target", "TrentService.Decrypt")];
        let whole = |method, path, headers: &[(&str, &str)], body: &[u8], service| {
            signature(&Signed { method, path, headers, body }, service)
        };
        let good = whole("POST", "/", &headers, b"{}", "kms");
        let other = [HOST, DATE, ("x-amz-target", "TrentService.Encrypt")];
        for changed in [
            whole("PUT", "/", &headers, b"{}", "kms"),
            whole("POST", "/a", &headers, b"{}", "kms"),
            whole("POST", "/", &other, b"{}", "kms"),
            whole("POST", "/", &headers[..2], b"{}", "kms"),
            whole("POST", "/", &headers, b"{ }", "kms"),
            whole("POST", "/", &headers, b"{}", "sts"),
        ] {
            assert_ne!(changed, good);
        }
    }

    #[test]
    fn times_are_written_as_aws_does() {
        let written = |at| date(UnixTime(at)).map(|(time, _)| time);
        assert_eq!(written(0).as_deref(), Some("19700101T000000Z"));
        assert_eq!(date(THEN), Some(("20150830T123600Z".to_owned(), "20150830".to_owned())));
        assert_eq!(written(1_709_210_096).as_deref(), Some("20240229T123456Z"));
        assert_eq!(written(u64::MAX), None);
    }
}
