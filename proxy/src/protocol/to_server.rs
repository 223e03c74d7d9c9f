//! Builders of what pgconvoy itself sends to a server: each appends one whole message to `out`.
//! Texts are bytes (a client's encoding is its own affair) and are cut at a NUL, so that no text
//! can forge a message's structure. It must not know when a message is due.

use bytes::{BufMut, BytesMut};

use super::messages::Target;

/// CancelRequest's code, in the place of a protocol version.
pub(super) const CANCEL_CODE: i32 = 80_877_102;
/// SSLRequest's code.
pub(super) const SSL_CODE: i32 = 80_877_103;
/// GSSENCRequest's code.
pub(super) const GSSENC_CODE: i32 = 80_877_104;

/// Appends one message: `tag`, the length, and what `body` writes.
pub(super) fn frame(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

/// Appends a length word and what `body` writes, as startup packets are framed.
pub(super) fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = length_word(out.len() - start);
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&length);
    }
}

/// A length no peer accepts stands for one that does not fit.
fn length_word(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Appends a string and its terminator; what follows a NUL is dropped.
pub(super) fn put_text(out: &mut BytesMut, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.put_slice(&text[..end]);
    out.put_u8(0);
}

/// StartupMessage for protocol 3.`minor`. Order is kept; the server lets the last of equals win.
pub fn startup<'a>(
    out: &mut BytesMut,
    minor: u16,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    untagged(out, |out| {
        out.put_u16(3);
        out.put_u16(minor);
        for (name, value) in parameters {
            // An empty name would end the list early.
            if !name.is_empty() {
                put_text(out, name.as_bytes());
                put_text(out, value.as_bytes());
            }
        }
        out.put_u8(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_i32(SSL_CODE));
}

/// CancelRequest. `key` is what BackendKeyData gave.
pub fn cancel_request(out: &mut BytesMut, pid: i32, key: &[u8]) {
    untagged(out, |out| {
        out.put_i32(CANCEL_CODE);
        out.put_i32(pid);
        out.put_slice(key);
    });
}

/// Query.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    frame(out, b'Q', |out| put_text(out, text));
}

/// Parse. `types` is an int16 count and the OIDs, as [`super::messages::Parse`] holds them.
pub fn parse(out: &mut BytesMut, name: &[u8], query: &[u8], types: &[u8]) {
    frame(out, b'P', |out| {
        put_text(out, name);
        put_text(out, query);
        if types.len() < 2 {
            out.put_u16(0);
        } else {
            out.put_slice(types);
        }
    });
}

/// A Bind's header and names for a message whose remaining `rest_len` bytes the caller appends or
/// streams itself: what followed the names in the client's Bind.
pub fn bind_header(out: &mut BytesMut, portal: &[u8], statement: &[u8], rest_len: usize) {
    out.put_u8(b'B');
    let start = out.len();
    out.put_u32(0);
    put_text(out, portal);
    put_text(out, statement);
    let length = length_word((out.len() - start).saturating_add(rest_len));
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&length);
    }
}

/// Describe.
pub fn describe(out: &mut BytesMut, target: Target, name: &[u8]) {
    named(out, b'D', target, name);
}

/// Close.
pub fn close(out: &mut BytesMut, target: Target, name: &[u8]) {
    named(out, b'C', target, name);
}

fn named(out: &mut BytesMut, tag: u8, target: Target, name: &[u8]) {
    frame(out, tag, |out| {
        out.put_u8(target as u8);
        put_text(out, name);
    });
}

/// Execute; `max_rows` 0 is all rows.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    frame(out, b'E', |out| {
        put_text(out, portal);
        out.put_i32(max_rows);
    });
}

/// Sync.
pub fn sync(out: &mut BytesMut) {
    out.put_slice(b"S\0\0\0\x04");
}

/// Flush.
pub fn flush(out: &mut BytesMut) {
    out.put_slice(b"H\0\0\0\x04");
}

/// Terminate.
pub fn terminate(out: &mut BytesMut) {
    out.put_slice(b"X\0\0\0\x04");
}

/// CopyFail, which ends a COPY FROM STDIN with an error.
pub fn copy_fail(out: &mut BytesMut, reason: &[u8]) {
    frame(out, b'f', |out| put_text(out, reason));
}

/// CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(b"c\0\0\0\x04");
}

/// PasswordMessage: a cleartext password or an `md5…` answer.
pub fn password(out: &mut BytesMut, password: &[u8]) {
    frame(out, b'p', |out| put_text(out, password));
}

/// SASLInitialResponse.
pub fn sasl_initial(out: &mut BytesMut, mechanism: &str, data: &[u8]) {
    frame(out, b'p', |out| {
        put_text(out, mechanism.as_bytes());
        out.put_slice(&length_word(data.len()));
        out.put_slice(data);
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    frame(out, b'p', |out| out.put_slice(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{frame::peek_frontend, messages};

    fn built(build: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        build(&mut out);
        let (_, header) = peek_frontend(&out).unwrap().unwrap();
        assert_eq!(header.len, out.len());
        out
    }

    #[test]
    fn what_is_built_decodes_to_itself() {
        let out = built(|out| parse(out, b"s1", b"select $1", b"\0\x01\0\0\0\x17"));
        let decoded = messages::parse(&out[5..]).unwrap();
        assert_eq!(decoded.name, b"s1");
        assert_eq!(decoded.query, b"select $1");
        assert_eq!(decoded.types, b"\0\x01\0\0\0\x17");

        let out = built(|out| describe(out, Target::Portal, b""));
        let decoded = messages::describe(&out[5..]).unwrap();
        assert_eq!(
            decoded,
            messages::Named {
                target: Target::Portal,
                name: b""
            }
        );

        let out = built(|out| close(out, Target::Statement, b"x"));
        let decoded = messages::close(&out[5..]).unwrap();
        assert_eq!(
            decoded,
            messages::Named {
                target: Target::Statement,
                name: b"x"
            }
        );

        let out = built(|out| execute(out, b"p", 7));
        let decoded = messages::execute(&out[5..]).unwrap();
        assert_eq!(
            decoded,
            messages::Execute {
                portal: b"p",
                max_rows: 7
            }
        );

        let out = built(|out| query(out, b"select 1"));
        assert_eq!(messages::query(&out[5..]).unwrap(), b"select 1");

        let out = built(|out| sasl_initial(out, "SCRAM-SHA-256", b"n,,n=,r=x"));
        let decoded = messages::sasl_initial(&out[5..]).unwrap();
        assert_eq!(decoded.mechanism, b"SCRAM-SHA-256");
        assert_eq!(decoded.data, Some(&b"n,,n=,r=x"[..]));

        built(sync);
        built(flush);
        built(terminate);
        built(copy_done);
        built(|out| copy_fail(out, b"stopped"));
        built(|out| password(out, b"secret"));
        built(|out| sasl_response(out, b"c=biws"));
    }

    #[test]
    fn a_bind_header_counts_the_values_that_follow_it() {
        let out = built(|out| {
            bind_header(out, b"", b"renamed", 6);
            out.put_slice(&[0; 6]);
        });
        let names = messages::bind_names(&out[5..]).unwrap().unwrap();
        assert_eq!(
            (names.portal, names.statement, names.used),
            (&b""[..], &b"renamed"[..], 9)
        );
    }

    #[test]
    fn a_nul_cannot_forge_structure() {
        let out = built(|out| query(out, b"select 1\0X\0\0\0\x04"));
        assert_eq!(messages::query(&out[5..]).unwrap(), b"select 1");

        let mut out = BytesMut::new();
        startup(
            &mut out,
            0,
            [("user", "a\0database\0b"), ("", "lost"), ("database", "c")],
        );
        assert_eq!(&out[8..], b"user\0a\0database\0c\0\0");
    }

    #[test]
    fn cancel_and_ssl_requests_are_byte_exact() {
        let mut out = BytesMut::new();
        cancel_request(&mut out, 7, b"abcd");
        assert_eq!(&out[..], b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd");
        out.clear();
        ssl_request(&mut out);
        assert_eq!(&out[..], b"\0\0\0\x08\x04\xd2\x16\x2f");
    }
}
