//! What a worker sends in one turn goes in one system call where the kernel has io_uring; clients can't tell.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, row, tags};

fn stage(name: &str, io_uring: bool) -> Stage {
    Stage::with(name, |setup| {
        setup.top(&format!("workers = 1\nio_uring = {io_uring}"))
    })
}

/// Answers of 1 KB that nobody reads fill the sockets; whoever shares the worker is served all the same, and in the
/// end each answer arrives, in its order.
fn slow_reader_gets_all_and_keeps_nobody(name: &str, io_uring: bool) {
    // As many as the proxy takes in while it can't answer.
    const ANSWERS: usize = 15_000;
    let stage = stage(name, io_uring);
    let (mut slow, mut quick) = (stage.client(), stage.client());
    let mut asked = Batch::new();
    for n in 0..ANSWERS {
        asked = asked.query(&format!("select {n}, repeat('x', 1000)"));
    }
    slow.send(asked.bytes());
    for n in 0..500 {
        assert_eq!(quick.one(&format!("select {n}")), n.to_string());
    }
    for n in 0..ANSWERS {
        let messages = slow.until_ready();
        assert_eq!(tags(&messages), "TDCZ");
        let row = row(&messages[1]);
        assert_eq!(row[0], Some(n.to_string()));
        assert_eq!(row[1].as_ref().map(String::len), Some(1000));
    }
}

#[test]
fn slow_reader_gets_all_and_keeps_nobody_with_io_uring() {
    slow_reader_gets_all_and_keeps_nobody("ring_on", true);
}

#[test]
fn slow_reader_gets_all_and_keeps_nobody_without_io_uring() {
    slow_reader_gets_all_and_keeps_nobody("ring_off", false);
}

#[test]
fn io_uring_is_used_when_it_is_there_and_not_when_it_is_turned_off() {
    let allowed = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let stage_on = stage("ring_used", true);
    if allowed.is_ok_and(|setting| setting.trim() == "0") {
        assert!(stage_on.convoy.has_open("io_uring"));
    } else {
        eprintln!("SKIPPED: no io_uring here");
    }
    assert!(!stage("ring_unused", false).convoy.has_open("io_uring"));
}
