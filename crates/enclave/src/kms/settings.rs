//! Where the key is: what a person wrote about AWS KMS (KMS-01).

use std::fmt;
use std::path::PathBuf;

use crate::transport::{BrokerPath, VsockAddress};

/// What was written about AWS KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsSettings {
    /// The KMS key under which the model key was encrypted.
    pub key: KmsKey,
    /// File with the ciphertext.
    pub ciphertext: PathBuf,
    /// Who has the operator's credentials.
    pub credentials: CredentialSource,
    /// The service, where it is not the region's own.
    pub endpoint: Option<String>,
    /// Authorities of its TLS, where they are not those of the web.
    pub authorities: Option<PathBuf>,
    /// How it is reached.
    pub path: BrokerPath,
}

/// Who has the operator's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file, read once.
    File(PathBuf),
    /// Whoever listens there writes them and closes.
    Vsock(VsockAddress),
}

/// The ARN of a KMS key: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`. No alias, which could be turned to another key.
#[derive(Clone, PartialEq, Eq)]
pub struct KmsKey {
    arn: String,
    /// Where the region stands in it.
    region: std::ops::Range<usize>,
    suffix: &'static str,
}

/// A text that is no such ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID")]
pub struct KmsKeyError;

impl KmsKey {
    /// Reads an ARN.
    ///
    /// # Errors
    /// [`KmsKeyError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, KmsKeyError> {
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, key] = parts[..] else { return Err(KmsKeyError) };
        let suffix = match partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return Err(KmsKeyError),
        };
        let id = key.strip_prefix("key/").ok_or(KmsKeyError)?;
        let label = |text: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text
                    .bytes()
                    .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
        };
        let is_account = account.len() == 12 && account.bytes().all(|octet| octet.is_ascii_digit());
        if !label(region, 32) || !is_account || !label(id, 64) {
            return Err(KmsKeyError);
        }
        let start = "arn::kms:".len() + partition.len();
        Ok(Self { arn: text.to_owned(), region: start..start + region.len(), suffix })
    }

    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// Its region.
    pub fn region(&self) -> &str {
        self.arn.get(self.region.clone()).unwrap_or_default()
    }

    /// The region's own service.
    pub(super) fn endpoint(&self) -> String {
        format!("https://kms.{}.{}", self.region(), self.suffix)
    }
}

impl fmt::Debug for KmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_where_the_service_is() {
        for (arn, region, endpoint) in [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                "eu-west-1",
                "https://kms.eu-west-1.amazonaws.com",
            ),
            (
                "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab",
                "cn-north-1",
                "https://kms.cn-north-1.amazonaws.com.cn",
            ),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1",
                "us-gov-west-1",
                "https://kms.us-gov-west-1.amazonaws.com",
            ),
        ] {
            let key = KmsKey::parse(arn).expect(arn);
            assert_eq!((key.as_str(), key.region(), key.endpoint().as_str()), (arn, region, endpoint));
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for wrong in [
            "",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/model",
            "arn:aws:kms:eu-west-1:111122223333:alias/model",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key/a/b",
            "arn:aws:kms:eu-west-1:111122223333:key/a:b",
            "arn:aws:kms:eu-west-1:11112222333:key/a",
            "arn:aws:kms:eu-west-1:11112222333x:key/a",
            "arn:aws:kms::111122223333:key/a",
            "arn:aws:kms:eu.west.evil:111122223333:key/a",
            "arn:aws:kms:eu-west-1/x:111122223333:key/a",
            "arn:aws:s3:eu-west-1:111122223333:key/a",
            "arn:elsewhere:kms:eu-west-1:111122223333:key/a",
            "arn:aws:kms:eu-west-1:111122223333:key/\u{e4}",
            " arn:aws:kms:eu-west-1:111122223333:key/a",
            "arn:aws:kms:eu-west-1:111122223333:key/a\n",
        ] {
            assert_eq!(KmsKey::parse(wrong), Err(KmsKeyError), "{wrong}");
        }
    }
}
