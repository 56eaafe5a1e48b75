use casemate_attest::endorse::{Dated, DatedPart};

use super::*;

const DAY: u64 = 86_400;
const NONE: Jitter = Jitter(0);
const MOST: Jitter = Jitter(u16::MAX);
/// The start of every case.
const T: u64 = 1_800_000_000;

fn part(from: u64, until: u64) -> DatedPart {
    let dated = Dated { from: UnixTime(from), until: UnixTime(until) };
    DatedPart { name: "x", authority: Vec::new(), dated, listing: true }
}

/// (due, warn, valid until), each as seconds after T.
fn span(parts: &[(u64, u64)], valid_until: u64) -> (u64, u64, u64) {
    let parts: Vec<_> = parts.iter().map(|(from, until)| part(T + from, T + until)).collect();
    let span = Span::of(&parts, UnixTime(T), UnixTime(T + valid_until));
    (span.due.0 - T, span.warn.0 - T, span.valid_until.0 - T)
}

#[test]
fn the_earliest_date_decides() {
    let month = 30 * DAY;
    let year = 372 * DAY;
    // One list of a year: a week of warning and not a sixth of a year.
    assert_eq!(span(&[(0, year)], year), (248 * DAY, year - 7 * DAY, year));
    // One of a month beside it.
    assert_eq!(span(&[(0, year), (0, month)], month), (20 * DAY, 25 * DAY, month));
    // A younger document that ends later does not hide the older.
    assert_eq!(span(&[(5 * DAY, 35 * DAY), (0, month)], month), (20 * DAY, 25 * DAY, month));
    // What ends first is none of the parts: an authority's certificate.
    assert_eq!(span(&[(0, year)], 6 * DAY), (4 * DAY, 5 * DAY, 6 * DAY));
    // No parts: the evidence carries its certificates itself.
    assert_eq!(span(&[], 3 * 3600), (5400, 8100, 3 * 3600));
    // Short lives.
    assert_eq!(span(&[(0, 7200)], 7200), (3600, 5400, 7200));
    assert_eq!(span(&[(0, 0)], 0), (0, 0, 0));
}

fn month() -> Span {
    Span::of(&[part(T, T + 30 * DAY)], UnixTime(T), UnixTime(T + 30 * DAY))
}

fn started(jitter: Jitter) -> State {
    State::started(UnixTime(T), month(), jitter)
}

fn attempt(state: &State) -> u64 {
    state.attempt.0 - T
}

#[test]
fn the_next_step_by_time_and_state() {
    let day = |days: u64| UnixTime(T + days * DAY);
    let state = started(NONE);
    assert_eq!(next(day(0), &state), Action::Wait(60));
    assert_eq!(next(UnixTime(T + 20 * DAY - 7), &state), Action::Wait(7));
    assert_eq!(next(day(20), &state), Action::Refresh);
    assert_eq!(next(day(400), &state), Action::Refresh, "a machine that slept");
    assert_eq!(next(UnixTime(0), &state), Action::Wait(60), "a clock that went back");

    // Machines that started together ask within a tenth of the lead.
    assert_eq!((attempt(&started(NONE)), attempt(&started(MOST))), (20 * DAY, 21 * DAY - 2));

    // A success: as new.
    let later = Span::of(&[part(T + 20 * DAY, T + 50 * DAY)], day(20), day(50));
    let renewed = state.succeeded(day(20), later, NONE);
    assert_eq!(next(day(20), &renewed), Action::Wait(60));
    assert_eq!(attempt(&renewed), 40 * DAY);

    // Nothing newer was to be had: an eighth of what is left, half of it by chance; a day at most, ten minutes at least.
    let same = |now| attempt(&state.succeeded(now, month(), NONE)) - (now.0 - T);
    assert_eq!(same(day(20)), DAY / 2);
    assert_eq!(same(day(26)), DAY / 4);
    assert_eq!(same(UnixTime(T + 30 * DAY - 100)), 300);
    assert_eq!(same(day(31)), 300);

    // What the cache folder had at the start, and is due: soon.
    let old = State::started(day(20), month(), NONE);
    assert_eq!(attempt(&old), 20 * DAY + 30);
}

#[test]
fn failures_wait_twice_as_long_each_time_up_to_an_hour() {
    let now = UnixTime(T + 20 * DAY);
    let mut state = started(NONE);
    let mut waits = Vec::new();
    for _ in 0..9 {
        state = state.failed(now, "endorse.unreachable", NONE);
        waits.push(state.attempt.0 - now.0);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]);
    for _ in 0..100 {
        state = state.failed(now, "endorse.unreachable", MOST);
    }
    assert_eq!(state.attempt.0 - now.0, 3599);
    // A success forgets them, but not how many there were.
    let state = state.succeeded(now, month(), NONE);
    let health = state.health(now);
    assert_eq!((health.state, health.last_error_code), (EndorsementState::Fresh, None));
    assert_eq!(health.failures_total, 109);
    assert_eq!(state.failed(now, "x", NONE).attempt.0 - now.0, 30);
}

#[test]
fn states_from_best_to_worst() {
    let at = |seconds: u64| UnixTime(T + seconds);
    let good = started(NONE);
    let failed = good.failed(at(20 * DAY), "endorse.timeout", NONE);
    let end = 30 * DAY;
    for (state, now, expected, error) in [
        (good, 0, EndorsementState::Fresh, None),
        (good, 20 * DAY, EndorsementState::Fresh, None),
        (failed, 20 * DAY, EndorsementState::RefreshFailing, Some("endorse.timeout")),
        (good, 25 * DAY - 1, EndorsementState::Fresh, None),
        (good, 25 * DAY, EndorsementState::Expiring, None),
        (failed, 25 * DAY, EndorsementState::Expiring, Some("endorse.timeout")),
        (good, end, EndorsementState::Expiring, None),
        (good, end + 1, EndorsementState::Expired, None),
        (failed, end + 1, EndorsementState::Expired, Some("endorse.timeout")),
    ] {
        let health = state.health(at(now));
        assert_eq!((health.state, health.last_error_code), (expected, error), "{now}");
        assert_eq!((health.valid_until, health.last_success), (at(end), at(0)));
    }
    assert!(EndorsementState::Fresh < EndorsementState::Expired);
}

#[test]
fn the_form_in_health() {
    let health = started(NONE).failed(UnixTime(T), "staple.older", NONE).health(UnixTime(T));
    let json = serde_json::to_value(health).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "state": "refresh_failing",
            "valid_until": T + 30 * DAY,
            "last_success": T,
            "last_error_code": "staple.older",
        })
    );
}
