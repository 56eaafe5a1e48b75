//! A program that answers with anything but an answer: each has a name, nothing of it goes further, and the next request is served.

use casemate_engine::Engine;

use crate::Case;
use crate::roles::{ask, start};

pub const CASES: &[(&str, Case)] = &[("hostile::what_is_no_answer_has_a_name", what_is_no_answer_has_a_name)];

fn what_is_no_answer_has_a_name() {
    let engine = start("honest", "{socket}").unwrap();
    for (prompt, code) in [
        ("html", "upstream.answer"),
        ("cut", "upstream.answer"),
        ("nonsense", "upstream.answer"),
        ("headers", "upstream.answer"),
        ("endless", "upstream.answer"),
        ("comments", "upstream.answer"),
        ("error", "upstream.failed"),
        ("failed", "upstream.failed"),
        ("elsewhere", "upstream.failed"),
        ("refused", "upstream.refused"),
        ("busy", "upstream.busy"),
    ] {
        let error = ask(&engine, prompt).unwrap_err();
        assert_eq!(error.code(), code, "{prompt}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("your prompt") && !shown.contains("alert"), "{prompt}: {shown}");
        assert_eq!(ask(&engine, "hello").unwrap(), "The capital of France is Paris.", "after {prompt}");
    }
    assert_eq!((engine.restarts(), engine.queue_depth()), (0, 0));
}
