//! The router's decisions, by tables and properties.

mod commands;
mod limits;
mod notations;
mod properties;
mod replica;
mod session;
mod writes;

use super::{Decision, Quoting, Router, Target};

fn router() -> Router {
    Router::new([0x5eed, 0xcafe], 256)
}

thread_local! {
    /// Shared by a thread's decisions, for building one takes longer than many of them.
    static ROUTER: std::cell::RefCell<Router> = std::cell::RefCell::new(router());
}

fn decide(sql: &str) -> Decision {
    ROUTER.with_borrow_mut(|router| {
        let first = router.decide(sql.as_bytes(), Quoting::Standard);
        // What is remembered is what was decided.
        assert_eq!(
            router.decide(sql.as_bytes(), Quoting::Standard),
            first,
            "{sql}"
        );
        first
    })
}

#[track_caller]
fn all_go_to(target: Target, statements: &[&str]) {
    let wrong: Vec<String> = statements
        .iter()
        .map(|sql| (sql, decide(sql)))
        .filter(|(_, decision)| decision.target != target)
        .map(|(sql, decision)| format!("{} <- {sql}", decision.reason.as_str()))
        .collect();
    assert!(wrong.is_empty(), "not to {target:?}:\n{}", wrong.join("\n"));
}

#[test]
fn a_shape_is_shared_by_literals_and_comments_and_recalled_once_decided() {
    let mut router = Router::new([1, 2], 16);
    let shape = router.shape(b"select a from t where b = 1");
    assert_eq!(shape, router.shape(b"SELECT a /* x */ FROM t WHERE b = 27"));
    assert_ne!(shape, router.shape(b"select a from t where c = 1"));
    assert_eq!(router.recall(shape), None);
    let decision = router.decide(b"select a from t where b = 3", Quoting::Standard);
    assert_eq!(router.recall(shape), Some(decision));
}
