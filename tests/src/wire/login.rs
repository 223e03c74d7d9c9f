//! The client's side of a login (PostgreSQL docs, "Start-up" and "SASL Authentication").

use super::{Message, ServerError, Wire, frame};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// Answers what the server asks for, up to the first ReadyForQuery.
pub(super) fn run(wire: &mut Wire, user: &str, password: Option<&str>) -> Result<(), ServerError> {
    let password = password.unwrap_or("").as_bytes();
    loop {
        let message = next(wire)?;
        match message.tag {
            b'R' => authenticate(wire, &message, user, password)?,
            b'Z' => return Ok(()),
            b'S' | b'K' | b'N' | b'v' => {}
            other => panic!("unexpected message during login: {:?}", char::from(other)),
        }
    }
}

fn next(wire: &mut Wire) -> Result<Message, ServerError> {
    let message = wire
        .receive()
        .ok_or_else(|| ServerError::lost("closed during login"))?;
    if message.tag == b'E' {
        return Err(ServerError::parse(&message.body));
    }
    Ok(message)
}

fn authenticate(
    wire: &mut Wire,
    ask: &Message,
    user: &str,
    password: &[u8],
) -> Result<(), ServerError> {
    let kind = i32::from_be_bytes(ask.body[..4].try_into().unwrap());
    match kind {
        0 => Ok(()),
        3 => answer(wire, &[password, b"\0"].concat()),
        5 => {
            let salt = ask.body[4..8].try_into().unwrap();
            let hash = md5_hash(user.as_bytes(), password, salt);
            answer(wire, &[hash.as_bytes(), b"\0"].concat())
        }
        10 => sasl(wire, password),
        other => panic!("unexpected authentication request {other}"),
    }
}

fn answer(wire: &mut Wire, body: &[u8]) -> Result<(), ServerError> {
    wire.try_send(&frame(b'p', body))
        .map_err(|error| ServerError::lost(&error.to_string()))
}

fn sasl(wire: &mut Wire, password: &[u8]) -> Result<(), ServerError> {
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    let first = scram.message().to_vec();
    let length = (first.len() as u32).to_be_bytes();
    answer(
        wire,
        &[SCRAM_SHA_256.as_bytes(), b"\0", &length, &first].concat(),
    )?;
    let challenge = next(wire)?;
    scram
        .update(&challenge.body[4..])
        .expect("a SCRAM challenge");
    let last = scram.message().to_vec();
    answer(wire, &last)?;
    let verdict = next(wire)?;
    scram
        .finish(&verdict.body[4..])
        .expect("the server's SCRAM signature");
    Ok(())
}
