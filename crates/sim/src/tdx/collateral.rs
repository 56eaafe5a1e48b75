//! Collateral: what a simulated Intel says of its platforms, as its services and the caches in front of them give it.
//!
//! Source: Intel PCS API v4, "Get TDX TCB Info", "Get TD QE Identity", "Get PCK Certificate CRL", "Get SGX Root CA CRL".

use casemate_attest::UnixTime;
use serde_json::{Value, json};

use super::TdxVendor;
use super::issue::{COMPONENT_SVN, FMSPC, PCE_ID, PCE_SVN, PLATFORM_CA, ROOT, SIGNER};
use super::machine::{QE_ATTRIBUTES, QE_PRODUCT, QE_SIGNER, QE_SVN};
use super::mistakes::{CollateralMistake, CollateralPart};
use crate::certificate::Window;
use crate::certifier::{date, serial, sign_p256};
use crate::error::SimError;
use crate::vendor::{DAY, window};

/// Intel's documents and lists live for thirty days.
const COLLATERAL_SECONDS: u64 = 31 * DAY;
/// tcbEvaluationDataNumber.
const EVALUATION: u32 = 17;
const TCB_DATE: &str = "2025-01-01T00:00:00Z";
const UP_TO_DATE: &str = "UpToDate";

impl TdxVendor {
    /// The collateral for every machine of this vendor: the JSON object that a verifier takes.
    ///
    /// # Errors
    /// [`SimError::Signing`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn collateral(&self) -> Result<Vec<u8>, SimError> {
        self.collateral_with(&CollateralMistake::None)
    }

    /// Test material: the collateral with one mistake or one unwelcome fact.
    ///
    /// # Errors
    /// As [`TdxVendor::collateral`].
    pub fn collateral_with(&self, mistake: &CollateralMistake) -> Result<Vec<u8>, SimError> {
        use CollateralPart::{PckCrl, QeIdentity, RootCrl, TcbInfo};
        let tcb_info = self.dated(TcbInfo, mistake, tcb_info(mistake))?;
        let qe_identity = self.dated(QeIdentity, mistake, qe_identity(mistake))?;
        let by_root = format!("{}{}", self.signer.pem(), self.root.pem());
        let mut collateral = json!({
            "pck_crl_issuer_chain": format!("{}{}", self.platform_ca.pem(), self.root.pem()),
            "root_ca_crl": hex::encode(self.list(RootCrl, mistake)?),
            "pck_crl": hex::encode(self.list(PckCrl, mistake)?),
            "tcb_info_issuer_chain": by_root,
            "tcb_info_signature": hex::encode(self.document_signature(TcbInfo, mistake, &tcb_info)?),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": by_root,
            "qe_identity_signature": hex::encode(self.document_signature(QeIdentity, mistake, &qe_identity)?),
            "qe_identity": qe_identity,
        });
        if let CollateralMistake::Without(member) = mistake {
            collateral.as_object_mut().and_then(|members| members.remove(*member));
        }
        Ok(collateral.to_string().into_bytes())
    }

    /// The document as the text that is signed.
    fn dated(
        &self,
        part: CollateralPart,
        mistake: &CollateralMistake,
        mut document: Value,
    ) -> Result<String, SimError> {
        let window = self.window_of(part, mistake)?;
        if let Some(members) = document.as_object_mut() {
            members.insert("issueDate".to_owned(), rfc3339(window.not_before)?.into());
            members.insert("nextUpdate".to_owned(), rfc3339(window.not_after)?.into());
            members.insert("tcbEvaluationDataNumber".to_owned(), EVALUATION.into());
        }
        Ok(document.to_string())
    }

    fn window_of(&self, part: CollateralPart, mistake: &CollateralMistake) -> Result<Window, SimError> {
        match mistake {
            CollateralMistake::Window { part: other, from, until } if *other == part => {
                Ok(Window { not_before: *from, not_after: *until })
            }
            _ => window(self.issued(), COLLATERAL_SECONDS),
        }
    }

    fn document_signature(
        &self,
        part: CollateralPart,
        mistake: &CollateralMistake,
        text: &str,
    ) -> Result<Vec<u8>, SimError> {
        if *mistake == CollateralMistake::SignedByStranger(part) {
            return sign_p256(self.stranger(SIGNER)?.issuer.key(), text.as_bytes());
        }
        sign_p256(self.signer.issuer.key(), text.as_bytes())
    }

    fn list(&self, part: CollateralPart, mistake: &CollateralMistake) -> Result<Vec<u8>, SimError> {
        let is_root = part == CollateralPart::RootCrl;
        let revoked = match mistake {
            CollateralMistake::RevokesPck(number) if !is_root => vec![number.clone()],
            CollateralMistake::RevokesPlatformCa if is_root => vec![serial(self.platform_ca.issuer.key())],
            CollateralMistake::RevokesSigner if is_root => vec![serial(self.signer.issuer.key())],
            _ => Vec::new(),
        };
        let window = self.window_of(part, mistake)?;
        let (own, name) = if is_root { (&self.root, ROOT) } else { (&self.platform_ca, PLATFORM_CA) };
        if *mistake == CollateralMistake::SignedByStranger(part) {
            return self.stranger(name)?.revocation_list(window, &revoked);
        }
        own.revocation_list(window, &revoked)
    }
}

fn tcb_info(mistake: &CollateralMistake) -> Value {
    let fmspc = if let CollateralMistake::OtherFmspc(other) = mistake { *other } else { FMSPC };
    let id = if *mistake == CollateralMistake::TcbInfoOfSgx { "SGX" } else { "TDX" };
    let (status, advisories): (_, &[&str]) = match mistake {
        CollateralMistake::PlatformStatus(status, advisories) => (*status, *advisories),
        _ => (UP_TO_DATE, &[]),
    };
    let module_status =
        if let CollateralMistake::ModuleStatus(status) = mistake { *status } else { UP_TO_DATE };
    let module_signer = if *mistake == CollateralMistake::OtherModule { [1; 48] } else { [0; 48] };
    let pce_svn = match mistake {
        CollateralMistake::PlatformTooOld => PCE_SVN.saturating_add(1),
        _ => PCE_SVN,
    };
    let components = |svn: u8| Value::from(vec![json!({ "svn": svn }); 16]);
    let module = |rest: Value| {
        let mut module = json!({
            "mrsigner": hex::encode(module_signer),
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        });
        if let (Some(members), Value::Object(rest)) = (module.as_object_mut(), rest) {
            members.extend(rest);
        }
        module
    };
    json!({
        "id": id,
        "version": 3,
        "fmspc": hex::encode_upper(fmspc),
        "pceId": hex::encode_upper(PCE_ID),
        "tcbType": 0,
        "tdxModule": module(json!({})),
        "tdxModuleIdentities": [module(json!({
            "id": "TDX_01",
            "tcbLevels": [{ "tcb": { "isvsvn": 5 }, "tcbDate": TCB_DATE, "tcbStatus": module_status }],
        }))],
        "tcbLevels": [{
            "tcb": {
                "sgxtcbcomponents": components(COMPONENT_SVN),
                "pcesvn": pce_svn,
                "tdxtcbcomponents": components(0),
            },
            "tcbDate": TCB_DATE,
            "tcbStatus": status,
            "advisoryIDs": advisories,
        }],
    })
}

fn qe_identity(mistake: &CollateralMistake) -> Value {
    let id = if *mistake == CollateralMistake::QeIdentityOfSgx { "QE" } else { "TD_QE" };
    let signer = if *mistake == CollateralMistake::OtherQe { [0x53; 32] } else { QE_SIGNER };
    let status = if let CollateralMistake::QeStatus(status) = mistake { *status } else { UP_TO_DATE };
    json!({
        "id": id,
        "version": 2,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": format!("{QE_ATTRIBUTES:02X}{}", "00".repeat(15)),
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(signer),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [{ "tcb": { "isvsvn": QE_SVN }, "tcbDate": TCB_DATE, "tcbStatus": status }],
    })
}

/// RFC 3339 in UTC, without fractions, as Intel writes it.
fn rfc3339(at: UnixTime) -> Result<String, SimError> {
    let date = date(at)?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    ))
}
