//! Addresses: where pgconvoy listens, and where nodes are.
//!
//! Must not resolve names: a node's host may not exist yet when the file is read.

use std::net::SocketAddr;

use super::{Kind, Outside, Refusal, not, wrong};
use crate::value::Value;

const LISTEN_FORM: &str = "an IP address and port, such as \"127.0.0.1:5430\"";

/// One or more addresses to listen on: a string, a list of strings, or words with commas.
pub(crate) struct ListenList;

impl Kind for ListenList {
    type Out = Vec<SocketAddr>;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Vec<SocketAddr>, Refusal> {
        let addresses = match value {
            Value::Text(text) => vec![socket(text)?],
            Value::Word(text) => text.split(',').map(socket).collect::<Result<_, _>>()?,
            Value::List(items) => items
                .iter()
                .map(|item| {
                    let text = item
                        .text()
                        .ok_or_else(|| wrong(item).allowed(LISTEN_FORM))?;
                    socket(text)
                })
                .collect::<Result<_, _>>()?,
            other @ (Value::Integer(_)
            | Value::Boolean(_)
            | Value::Table(_)
            | Value::Unusable(_)) => return Err(wrong(other).allowed(LISTEN_FORM)),
        };
        refuse_bad_list(&addresses)?;
        Ok(addresses)
    }

    fn show(&self, value: &Vec<SocketAddr>) -> String {
        value
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }
}

fn refuse_bad_list(addresses: &[SocketAddr]) -> Result<(), Refusal> {
    if addresses.is_empty() {
        return Err(Refusal::new("must not be empty").allowed(LISTEN_FORM));
    }
    for (index, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..index].contains(address) {
            return Err(Refusal::new(format!("{address} is given twice")));
        }
    }
    Ok(())
}

/// An address to listen on, or `"off"`.
pub(crate) struct ListenAddress;

impl Kind for ListenAddress {
    type Out = Option<SocketAddr>;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<Option<SocketAddr>, Refusal> {
        match value.text() {
            Some("off") => Ok(None),
            Some(text) => socket(text).map(Some),
            None => Err(wrong(value).allowed(format!("{LISTEN_FORM}, or \"off\""))),
        }
    }

    fn show(&self, value: &Option<SocketAddr>) -> String {
        value.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

fn socket(text: &str) -> Result<SocketAddr, Refusal> {
    text.trim()
        .parse()
        .map_err(|_| not(text, "an address to listen on").allowed(LISTEN_FORM))
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) struct HostPort;

impl Kind for HostPort {
    type Out = NodeAddress;

    fn read(&self, value: &Value, _: &Outside<'_>) -> Result<NodeAddress, Refusal> {
        const FORM: &str = "host:port, such as \"10.0.0.11:5432\" or \"[::1]:5432\"";
        let Some(text) = value.text() else {
            return Err(wrong(value).allowed(FORM));
        };
        if text.contains(['@', '/']) {
            // A URL may hold a password: it is not repeated.
            return Err(Refusal::new("is no URL; only host and port stand here").allowed(FORM));
        }
        split(text.trim()).ok_or_else(|| not(text, "a node's address").allowed(FORM))
    }

    fn show(&self, value: &NodeAddress) -> String {
        if value.host.contains(':') {
            format!("[{}]:{}", value.host, value.port)
        } else {
            format!("{}:{}", value.host, value.port)
        }
    }
}

fn split(text: &str) -> Option<NodeAddress> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => {
            address.parse::<std::net::Ipv6Addr>().ok()?;
            address
        }
        None => Some(host).filter(|host| is_host_name(host))?,
    };
    Some(NodeAddress {
        host: host.to_owned(),
        port,
    })
}

/// Letters, digits, `-`, `.` and, as container networks have it, `_`.
fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}
