//! Cancel keys and places.

use super::key::KeyLength;
use super::*;

fn newcomer(key: KeyLength) -> Newcomer<'static> {
    Newcomer {
        user: "u",
        database: "d",
        lodging: None,
        application_name: "a",
        address: "127.0.0.1:1".parse().unwrap(),
        local: None,
        replication: "none",
        key,
    }
}

fn server_key() -> BackendKey {
    BackendKey {
        host: "h".to_owned(),
        port: 1,
        pid: 7,
        secret: vec![211, 212, 213, 214],
        cancels: 0.into(),
        doomed: false.into(),
    }
}

#[test]
fn cancel_secrets_do_not_show_in_debug_output() {
    let key = server_key();
    let registry = Arc::new(Registry::default());
    let place = registry.enter(1).unwrap();
    assert!(registry.enter(1).is_none(), "places are bounded");
    let registration = registry.register(&newcomer(KeyLength::Long), place);
    let shown = format!("{key:?} {:?}", registration.client());
    assert!(
        !shown.contains("211") && !shown.contains("secret"),
        "{shown}"
    );
    drop(registration);
    assert!(registry.enter(1).is_some(), "the place is free again");
}

#[test]
fn cancel_is_for_what_runs_and_one_that_is_not_seen_to_arrive_dooms_the_connection() {
    let registry = Arc::new(Registry::new(PeerId(9)));
    let place = registry.enter(1).unwrap();
    let registration = registry.register(&newcomer(KeyLength::Short), place);
    let client = registration.client();
    let key = Arc::new(server_key());
    let ask = |pid: i32| registry.cancel(pid, client.secret());

    client.running_on(&key);
    for (activity, runs) in [
        (Activity::IdleInTransaction, false),
        (Activity::Idle, false),
        (Activity::Active, true),
    ] {
        client.set_activity(activity, 0);
        let answer = ask(client.pid);
        assert_eq!(matches!(answer, Cancel::Forward(_)), runs, "{activity:?}");
        assert_eq!(key.is_being_cancelled(), runs);
    }
    assert!(!key.may_be_cancelled(), "they have arrived");

    let Cancel::Forward(request) = ask(key::passed_on(client.pid)) else {
        panic!("a peer may pass it on");
    };
    assert!(matches!(ask(client.pid), Cancel::Nothing), "one at a time");
    request.lost_sight();
    drop(request);
    assert!(!key.is_being_cancelled() && key.may_be_cancelled());

    client.waiting();
    assert!(matches!(ask(client.pid), Cancel::Dequeued) && client.was_cancelled());
}
