//! Who releases the model key: exactly one of a broker and AWS KMS (spec/kms.md, KMS-01).

use super::{ConfigError, KeySource, ServeSettings, broker_path, wrong_address};
use crate::kms::{CredentialSource, KmsKey, KmsSettings};
use crate::transport::{BrokerPath, VsockAddress};

const KEY: &str = "--kms-key";

impl ServeSettings {
    pub(super) fn key_source(&self) -> Result<KeySource, ConfigError> {
        let Some(arn) = &self.kms_key else {
            let given = [
                ("--kms-ciphertext", self.kms_ciphertext.is_some()),
                ("--kms-credentials", self.kms_credentials.is_some()),
                ("--kms-via", self.kms_via.is_some()),
                ("--kms-endpoint", self.kms_endpoint.is_some()),
                ("--kms-ca", self.kms_ca.is_some()),
            ];
            if let Some((given, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(ConfigError::Unpaired { given, other: KEY });
            }
            return Ok(KeySource::Broker {
                url: self.broker.clone().ok_or(ConfigError::Missing { setting: "--broker" })?,
                authorities: self.broker_ca.clone(),
                path: self.broker_via.as_deref().map_or(Ok(BrokerPath::Tcp), broker_path)?,
            });
        };
        let of_broker = [
            ("--broker", self.broker.is_some()),
            ("--broker-ca", self.broker_ca.is_some()),
            ("--broker-via", self.broker_via.is_some()),
        ];
        if let Some((other, _)) = of_broker.into_iter().find(|(_, given)| *given) {
            return Err(ConfigError::Exclusive { one: KEY, other });
        }
        let needs = |other| ConfigError::Unpaired { given: KEY, other };
        let credentials = self.kms_credentials.as_deref().ok_or(needs("--kms-credentials"))?;
        let vsock =
            |text: &str, setting| VsockAddress::parse_destination(text).map_err(wrong_address(setting));
        let credentials = if credentials.starts_with("vsock:") {
            CredentialSource::Vsock(vsock(credentials, "--kms-credentials")?)
        } else {
            CredentialSource::File(credentials.into())
        };
        let path = match &self.kms_via {
            None => BrokerPath::Tcp,
            Some(text) => BrokerPath::Vsock(vsock(text, "--kms-via")?),
        };
        Ok(KeySource::AwsKms(KmsSettings {
            key: KmsKey::parse(arn).map_err(|source| ConfigError::KmsKey { source })?,
            ciphertext: self.kms_ciphertext.clone().ok_or(needs("--kms-ciphertext"))?,
            credentials,
            endpoint: self.kms_endpoint.clone(),
            authorities: self.kms_ca.clone(),
            path,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1";

    fn settings() -> ServeSettings {
        ServeSettings {
            model: Some("m".into()),
            publisher_key: Some("p".into()),
            kms_key: Some(ARN.into()),
            kms_ciphertext: Some("c".into()),
            kms_credentials: Some("vsock:3:8003".into()),
            ..ServeSettings::default()
        }
    }

    fn source(settings: ServeSettings) -> Result<KeySource, &'static str> {
        let config = settings.resolve(NonZeroUsize::MIN).map_err(|error| error.code());
        config.map(|config| config.keys)
    }

    #[test]
    fn kms_is_what_was_written() {
        let expected = KmsSettings {
            key: KmsKey::parse(ARN).unwrap(),
            ciphertext: "c".into(),
            credentials: CredentialSource::Vsock(VsockAddress { cid: 3, port: 8003 }),
            endpoint: None,
            authorities: None,
            path: BrokerPath::Tcp,
        };
        assert_eq!(source(settings()), Ok(KeySource::AwsKms(expected.clone())));
        let file = ServeSettings {
            kms_credentials: Some("f".into()),
            kms_via: Some("vsock:3:8000".into()),
            ..settings()
        };
        let credentials = CredentialSource::File("f".into());
        let path = BrokerPath::Vsock(VsockAddress { cid: 3, port: 8000 });
        assert_eq!(source(file), Ok(KeySource::AwsKms(KmsSettings { credentials, path, ..expected })));
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        type Edit = fn(&mut ServeSettings);
        let cases: [(Edit, &str); 14] = [
            (|s| (s.upstream.command, s.upstream.kind) = another_engine(), "config.exclusive"),
            (|s| s.broker = Some("http://b".into()), "config.exclusive"),
            (|s| s.broker_ca = Some("a".into()), "config.exclusive"),
            (|s| s.broker_via = Some("vsock:3:1".into()), "config.exclusive"),
            (|s| s.kms_ciphertext = None, "config.unpaired"),
            (|s| s.kms_credentials = None, "config.unpaired"),
            (|s| s.kms_key = None, "config.unpaired"),
            (|s| s.kms_key = Some("alias/model".into()), "config.kms-key"),
            (|s| s.kms_credentials = Some("vsock:8003".into()), "address.any-cid"),
            (|s| s.kms_via = Some("vsock:3:0".into()), "address.range"),
            (|s| s.kms_via = Some("127.0.0.1:1".into()), "address.form"),
            (|s| *s = ServeSettings { kms_via: Some("vsock:3:1".into()), ..bare() }, "config.unpaired"),
            (|s| *s = ServeSettings { kms_endpoint: Some("https://k".into()), ..bare() }, "config.unpaired"),
            (|s| *s = ServeSettings { kms_ca: Some("a".into()), ..bare() }, "config.unpaired"),
        ];
        for (index, (edit, code)) in cases.into_iter().enumerate() {
            let mut settings = settings();
            edit(&mut settings);
            assert_eq!(source(settings), Err(code), "case {index}");
        }
    }

    fn another_engine() -> (Option<String>, Option<String>) {
        (Some("/bin/e {model} {port}".into()), Some("llama-server".into()))
    }

    /// A broker's.
    fn bare() -> ServeSettings {
        ServeSettings {
            broker: Some("http://b".into()),
            kms_key: None,
            kms_ciphertext: None,
            kms_credentials: None,
            ..settings()
        }
    }
}
