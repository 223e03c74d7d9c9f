//! What is read of a startup packet.

use super::*;

fn startup(pairs: &[(&str, &str)]) -> Startup {
    let who = [("user", "app"), ("database", "db")];
    let all = who.iter().chain(pairs);
    Startup {
        minor: 0,
        parameters: all
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        protocol_options: Vec::new(),
    }
}

#[test]
fn replication_is_asked_for_as_postgresql_reads_it() {
    let table = [
        ("database", Some("database")),
        ("true", Some("true")),
        ("T", Some("true")),
        ("on", Some("true")),
        ("yes", Some("true")),
        ("1", Some("true")),
        ("false", None),
        ("Off", None),
        ("of", None),
        ("n", None),
        ("0", None),
    ];
    for (value, mode) in table {
        let wish = Wish::of(&startup(&[("replication", value)])).unwrap();
        let first = wish.map(|wish| wish.parameters[0].1.clone());
        assert_eq!(first.as_deref(), mode, "{value}");
    }
    assert!(Wish::of(&startup(&[])).unwrap().is_none());
    for value in ["", "o", "Database", "2", "truex"] {
        let error = Wish::of(&startup(&[("replication", value)])).unwrap_err();
        assert_eq!(error.code, sqlstate::INVALID_PARAMETER_VALUE, "{value}");
    }
}

#[test]
fn node_is_ours_and_all_else_is_passed_on() {
    let wish = Wish::of(&startup(&[
        ("replication", "true"),
        ("application_name", "x"),
        (
            "options",
            r"-c pgconvoy.node=replica -c a.b=c\ d\\e --work-mem=1MB",
        ),
    ]))
    .unwrap()
    .unwrap();
    assert_eq!(wish.choice, Some(Choice::Replica));
    let (names, values): (Vec<&str>, Vec<&str>) = wish
        .parameters
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .unzip();
    assert_eq!(names, ["replication", "options", "application_name"]);
    assert_eq!(values[1], r"-c a.b=c\ d\\e -c work_mem=1MB");
}

/// Among the startup parameters it would be another user's login.
#[test]
fn user_in_the_options_stays_an_option() {
    let pairs = [
        ("replication", "true"),
        ("options", "-c user=postgres -c replication=false"),
    ];
    let wish = Wish::of(&startup(&pairs)).unwrap().unwrap();
    let names: Vec<&str> = wish.parameters.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["replication", "options"]);
    assert_eq!(wish.parameters[0].1, "true");
}

#[test]
fn places_are_bounded_and_given_back() {
    let rules = Rules {
        node: Choice::Primary,
        most: 1,
    };
    let metrics = Arc::new(Metrics::new("0").unwrap());
    let gate = Gate::new(Arc::new(ArcSwap::from_pointee(rules)), Arc::clone(&metrics));
    let place = gate.enter(1).unwrap();
    assert_eq!(
        gate.enter(1).unwrap_err().code,
        sqlstate::TOO_MANY_CONNECTIONS
    );
    assert_eq!(metrics.replication_connections.get(), 1);
    drop(place);
    assert_eq!(metrics.replication_connections.get(), 0);
    assert!(gate.enter(1).is_ok());
}
