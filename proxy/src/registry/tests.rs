use super::*;

#[test]
fn cancel_secrets_do_not_show_in_debug_output() {
    let key = BackendKey {
        host: "h".to_owned(),
        port: 1,
        pid: 7,
        secret: vec![211, 212, 213, 214],
        cancels: 0.into(),
    };
    let registry = Arc::new(Registry::default());
    let place = registry.enter(1).unwrap();
    assert!(registry.enter(1).is_none(), "places are bounded");
    let address = "127.0.0.1:1".parse().unwrap();
    let newcomer = Newcomer {
        user: "u",
        database: "d",
        lodging: None,
        application_name: "a",
        address,
        local: None,
    };
    let registration = registry.register(&newcomer, place);
    let shown = format!("{key:?} {:?}", registration.client());
    assert!(
        !shown.contains("211") && !shown.contains("secret"),
        "{shown}"
    );
    drop(registration);
    assert!(registry.enter(1).is_some(), "the place is free again");
}
