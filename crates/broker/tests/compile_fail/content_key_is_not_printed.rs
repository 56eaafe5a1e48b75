//! No log field holds a released key.

fn print(key: &casemate_broker::store::ContentKey) -> String {
    format!("{key:?}")
}

fn main() {
    let _ = print;
}
