//! No log field holds a model key.

fn print(key: &casemate_seal::ModelKey) -> String {
    format!("{key:?}")
}

fn main() {
    let _ = print;
}
