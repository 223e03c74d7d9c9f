//! A client as thin as can be: it logs in and asks, and every wait has an end. What goes wrong is an error, so that a
//! peer that hangs is a column that is skipped.

use crate::stub::whole_frames;
use pgconvoy_tests::wire::{frame, startup};
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Protocol 3.0.
const VERSION: u32 = 196_608;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Logs in without a password.
///
/// # Errors
/// When nobody listens, answers or lets it in.
pub fn login(port: u16, user: &str, database: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let parameters = [("user", user), ("database", database)];
    ask(&mut stream, &startup(VERSION, &parameters))?;
    Ok(stream)
}

/// Sends a simple query and reads its answer.
///
/// # Errors
/// The server's error, or that of the socket.
pub fn query(stream: &mut TcpStream, sql: &str) -> Result<()> {
    ask(stream, &frame(b'Q', &[sql.as_bytes(), b"\0"].concat()))
}

/// Sends messages of which one is answered by ReadyForQuery, and reads up to that. Answers are short here.
///
/// # Errors
/// The server's error, or that of the socket.
pub fn ask(stream: &mut TcpStream, messages: &[u8]) -> Result<()> {
    stream.write_all(messages)?;
    let mut bytes = [0; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut bytes[filled..])?;
        filled += read;
        let (mut ready, mut refusal) = (false, None);
        whole_frames(&bytes[..filled], |tag, body| match tag {
            b'Z' => ready = true,
            b'E' => refusal = Some(String::from_utf8_lossy(body).replace('\0', " ")),
            _ => {}
        });
        match refusal {
            Some(refusal) => return Err(Error::other(refusal)),
            None if ready => return Ok(()),
            None if read == 0 => return Err(Error::other("closed, or more than a short answer")),
            None => {}
        }
    }
}
