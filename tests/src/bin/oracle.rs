//! `make oracle`'s recorder: listens for psql until its standard input ends, then reports.
//!
//! `oracle LISTEN CONVOY STANDBY REPORT`: three ports and a directory for what is too long for a terminal. Exit 1
//! when a statement would go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a step that fails has to end it with its cause"
)]

use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use pgconvoy_tests::oracle::{Ports, Tally, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut port = || -> u16 {
        let port = arguments.next().expect("a port");
        port.parse().expect("a port is a number")
    };
    let (listen, convoy, standby) = (port(), port(), port());
    let directory = PathBuf::from(arguments.next().expect("a directory for the report"));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let listener = TcpListener::bind(("127.0.0.1", listen)).expect("listen");
    let ports = Ports { convoy, standby };
    let theirs = Arc::clone(&tally);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let tally = Arc::clone(&theirs);
            std::thread::spawn(move || serve(client, ports, &tally));
        }
    });
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("read standard input");
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::write(directory.join("statements.txt"), tally.samples()).expect("write the report");
    std::fs::write(directory.join("files.txt"), tally.report()).expect("write the report");
    print!("{}\n{}", tally.report(), tally.headings());
    if tally.wrong() == 0 && tally.judged() > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
