//! A permit does not come from bytes.

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).unwrap()
}

fn main() {
    let _: casemate_broker::Permit = read(b"{}");
}
