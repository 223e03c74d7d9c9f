//! Messages of any size stream in bounded memory: the proxy's peak stays under 64 MB.

use pgconvoy_tests::stage::Stage;
use pgconvoy_tests::wire::{Batch, Wire};

const LIMIT_KB: u64 = 64 * 1024;

/// One proxy each: the peak is the process's.
fn stage(name: &str) -> Stage {
    Stage::with(name, |setup| setup.top("workers = 2"))
}

fn assert_peak_is_small(stage: &Stage) {
    let peak = stage.convoy.memory_kb("VmHWM");
    assert!(peak < LIMIT_KB, "peak resident memory is {peak} kB");
}

/// Reads an answer to its ReadyForQuery without keeping it: the number of messages with `tag` and all bytes.
fn drain(wire: &mut Wire, counted: u8) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    while let Some((tag, length)) = wire.skip() {
        assert_ne!(tag, b'E', "an error during a large transfer");
        count += usize::from(tag == counted);
        bytes += length;
        if tag == b'Z' {
            return (count, bytes);
        }
    }
    panic!("the server closed the connection");
}

#[test]
fn result_of_one_gigabyte_streams() {
    let stage = stage("big_result");
    let mut client = stage.client();
    let sql = "select repeat('x', 1000) from generate_series(1, 1000000)";
    client.send(Batch::new().query(sql).bytes());
    let (rows, bytes) = drain(&mut client, b'D');
    assert_eq!(rows, 1_000_000);
    assert!(bytes > 1_000_000_000);
    assert_peak_is_small(&stage);
}

#[test]
fn single_row_of_200_megabytes_streams() {
    let stage = stage("big_row");
    let mut client = stage.client();
    client.send(
        Batch::new()
            .query("select repeat('x', 200 * 1024 * 1024)")
            .bytes(),
    );
    let (rows, bytes) = drain(&mut client, b'D');
    assert_eq!(rows, 1);
    assert!(bytes > 200 * 1024 * 1024);
    assert_peak_is_small(&stage);
}

#[test]
fn query_and_parameter_of_100_megabytes_stream() {
    let stage = stage("big_query");
    let mut client = stage.client();
    let long = "x".repeat(100 * 1024 * 1024);
    assert_eq!(
        client.one(&format!("select length('{long}')")),
        long.len().to_string()
    );
    let rows = client.execute("select length($1)", &[&long]).unwrap();
    assert_eq!(rows[0][0].as_deref(), Some(long.len().to_string().as_str()));
    assert_peak_is_small(&stage);
}

#[test]
fn copy_of_500_megabytes_streams_out() {
    let stage = stage("big_copy_out");
    let mut client = stage.client();
    let sql = "copy (select repeat('x', 1000) from generate_series(1, 500000)) to stdout";
    client.send(Batch::new().query(sql).bytes());
    let (rows, bytes) = drain(&mut client, b'd');
    assert_eq!(rows, 500_000);
    assert!(bytes > 500_000_000);
    assert_peak_is_small(&stage);
}

#[test]
fn copy_of_500_megabytes_streams_in() {
    let stage = stage("big_copy_in");
    stage.seed("create table sink (a text)");
    let mut client = stage.client();
    // The server reads and parses every row, and keeps none: this is about the proxy, not about disks.
    client.send(
        Batch::new()
            .query("copy sink from stdin where a is null")
            .bytes(),
    );
    assert_eq!(client.message().tag, b'G');
    let line = [vec![b'y'; 999], b"\n".to_vec()].concat();
    let chunk = Batch::new().copy_data(&line.repeat(64));
    let rounds = 500_000_000 / (64 * 1000);
    for _ in 0..rounds {
        client.send(chunk.bytes());
    }
    client.send(Batch::new().copy_done().bytes());
    let replies = client.until_ready();
    assert_eq!(replies[0].command(), "COPY 0");
    assert_peak_is_small(&stage);
}

#[test]
fn client_that_does_not_read_holds_no_result_in_the_proxy() {
    let stage = stage("slow_reader");
    let mut slow = stage.client();
    slow.send(
        Batch::new()
            .query("select repeat('x', 1000) from generate_series(1, 300000)")
            .bytes(),
    );
    // Others go on meanwhile.
    for _ in 0..50 {
        assert_eq!(stage.client().one("select 1"), "1");
    }
    assert_peak_is_small(&stage);
    let (rows, _) = drain(&mut slow, b'D');
    assert_eq!(rows, 300_000);
}
