use super::*;

fn sender(name: &str, address: &str, sync_state: &str, slot: Option<&str>) -> Sender {
    Sender {
        name: name.into(),
        address: Some(address.into()),
        state: "streaming".into(),
        sync_state: sync_state.into(),
        slot: slot.map(Into::into),
    }
}

fn receiver(name: Option<&str>, slot: Option<&str>) -> Receiver {
    Receiver {
        status: "streaming".into(),
        slot: slot.map(Into::into),
        name: name.map(Into::into),
    }
}

#[test]
fn the_slot_is_believed_before_the_name_and_the_name_before_the_address() {
    let senders = [
        sender("n1", "10.0.0.2", "sync", Some("s1")),
        sender("n2", "10.0.0.1", "async", Some("s2")),
    ];
    let found = |name, slot, host| {
        find(&senders, &receiver(name, slot), host).map(|sender| sender.sync_state.as_str())
    };
    assert_eq!(found(Some("n2"), Some("s1"), "10.0.0.1"), Some("sync"));
    assert_eq!(found(Some("n2"), None, "10.0.0.2"), Some("async"));
    assert_eq!(found(None, None, "10.0.0.2"), Some("sync"));
    assert_eq!(found(None, None, "elsewhere"), None);
}

#[test]
fn a_name_that_two_standbys_share_tells_nothing_unless_they_are_alike() {
    let receiver = receiver(Some("walreceiver"), None);
    let alike = [
        sender("walreceiver", "10.0.0.1", "async", None),
        sender("walreceiver", "10.0.0.1", "async", None),
    ];
    assert_eq!(find(&alike, &receiver, "db1").unwrap().sync_state, "async");
    let mut different = alike;
    different[1].sync_state = "sync".into();
    assert_eq!(find(&different, &receiver, "db1"), None);
    assert_eq!(find(&[], &receiver, "db1"), None);
}

#[test]
fn a_receivers_name_is_read_from_its_connection_string() {
    let table = [
        (
            "user=u host=h fallback_application_name=n1 sslmode=prefer",
            Some("n1"),
        ),
        (
            "fallback_application_name=n1 application_name=mine",
            Some("mine"),
        ),
        ("application_name='two words' host=h", Some("two words")),
        (r"passfile='/a\'b' application_name=x\ y", Some("x y")),
        ("user = u application_name = spaced", Some("spaced")),
        (
            "application_name='' fallback_application_name=n1",
            Some("n1"),
        ),
        ("host=h", None),
        ("", None),
        ("application_name='never ends", Some("never ends")),
        ("nonsense", None),
    ];
    for (conninfo, name) in table {
        assert_eq!(receiver_name(conninfo).as_deref(), name, "{conninfo}");
    }
}
