//! No log line holds a prompt.

fn print(prompt: &casemate_protocol::Plaintext<String>) -> String {
    format!("{prompt}")
}

fn main() {
    let _ = print;
}
