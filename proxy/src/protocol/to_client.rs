//! Builders of what pgconvoy itself answers a client: each appends one whole message to `out`.
//! Texts are cut at a NUL, so that no text can forge a message's structure. It must not know when
//! an answer is due, nor what its columns mean.

use bytes::{BufMut, BytesMut};

use super::error_fields::{ErrorFields, ErrorView};
use super::frame::TransactionStatus;
use super::to_server::{frame, put_text};

/// AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    frame(out, b'R', |out| out.put_i32(0));
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut BytesMut) {
    frame(out, b'R', |out| out.put_i32(3));
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut BytesMut, salt: [u8; 4]) {
    frame(out, b'R', |out| {
        out.put_i32(5);
        out.put_slice(&salt);
    });
}

/// AuthenticationSASL, with the mechanisms in order of preference.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    frame(out, b'R', |out| {
        out.put_i32(10);
        for mechanism in mechanisms {
            put_text(out, mechanism.as_bytes());
        }
        out.put_u8(0);
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    frame(out, b'R', |out| {
        out.put_i32(11);
        out.put_slice(data);
    });
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    frame(out, b'R', |out| {
        out.put_i32(12);
        out.put_slice(data);
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    frame(out, b'S', |out| {
        put_text(out, name);
        put_text(out, value);
    });
}

/// BackendKeyData. Clients of protocol 3.0 expect a key of exactly 4 bytes.
pub fn backend_key_data(out: &mut BytesMut, pid: i32, key: &[u8]) {
    frame(out, b'K', |out| {
        out.put_i32(pid);
        out.put_slice(key);
    });
}

/// NegotiateProtocolVersion: we speak 3.`newest_minor` at most and know none of `unknown_options`.
/// The wire carries the whole version number, as PostgreSQL sends it.
pub fn negotiate_protocol_version<S: AsRef<str>>(
    out: &mut BytesMut,
    newest_minor: u16,
    unknown_options: &[S],
) {
    frame(out, b'v', |out| {
        out.put_u16(3);
        out.put_u16(newest_minor);
        out.put_u32(u32::try_from(unknown_options.len()).unwrap_or(0));
        for option in unknown_options {
            put_text(out, option.as_ref().as_bytes());
        }
    });
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    frame(out, b'Z', |out| out.put_u8(status.as_byte()));
}

/// A column of our own answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    pub name: &'a str,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// `pg_type.typlen`; -1 is variable.
    pub type_size: i16,
    /// 0 is text, 1 is binary.
    pub format: i16,
}

/// RowDescription, columns of no table. Columns past 65,535 are not sent.
pub fn row_description(out: &mut BytesMut, columns: &[Column<'_>]) {
    let (count, columns) = counted(columns);
    frame(out, b'T', |out| {
        out.put_u16(count);
        for column in columns {
            put_text(out, column.name.as_bytes());
            // No table, no attribute number.
            out.put_u32(0);
            out.put_u16(0);
            out.put_u32(column.type_oid);
            out.put_i16(column.type_size);
            // No type modifier.
            out.put_i32(-1);
            out.put_i16(column.format);
        }
    });
}

/// DataRow; `None` is NULL. Must have as many values as the RowDescription had columns.
pub fn data_row<V: AsRef<[u8]>>(out: &mut BytesMut, values: &[Option<V>]) {
    let (count, values) = counted(values);
    frame(out, b'D', |out| {
        out.put_u16(count);
        for value in values {
            // What a length word cannot say is sent as NULL.
            match value
                .as_ref()
                .map(|v| (i32::try_from(v.as_ref().len()), v.as_ref()))
            {
                Some((Ok(length), bytes)) => {
                    out.put_i32(length);
                    out.put_slice(bytes);
                }
                Some((Err(_), _)) | None => out.put_i32(-1),
            }
        }
    });
}

fn counted<T>(items: &[T]) -> (u16, &[T]) {
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    (count, &items[..usize::from(count)])
}

/// ParameterDescription.
pub fn parameter_description(out: &mut BytesMut, type_oids: &[u32]) {
    let (count, type_oids) = counted(type_oids);
    frame(out, b't', |out| {
        out.put_u16(count);
        for oid in type_oids {
            out.put_u32(*oid);
        }
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    frame(out, b'C', |out| put_text(out, tag.as_bytes()));
}

/// ParseComplete.
pub fn parse_complete(out: &mut BytesMut) {
    out.put_slice(b"1\0\0\0\x04");
}

/// BindComplete.
pub fn bind_complete(out: &mut BytesMut) {
    out.put_slice(b"2\0\0\0\x04");
}

/// CloseComplete.
pub fn close_complete(out: &mut BytesMut) {
    out.put_slice(b"3\0\0\0\x04");
}

/// NoData.
pub fn no_data(out: &mut BytesMut) {
    out.put_slice(b"n\0\0\0\x04");
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut BytesMut) {
    out.put_slice(b"s\0\0\0\x04");
}

/// EmptyQueryResponse.
pub fn empty_query_response(out: &mut BytesMut) {
    out.put_slice(b"I\0\0\0\x04");
}

/// ErrorResponse. What a client cannot do without is added where it is missing.
pub fn error_response(out: &mut BytesMut, fields: &ErrorFields) {
    report(
        out,
        b'E',
        fields,
        (b"ERROR", super::sqlstate::INTERNAL_ERROR),
    );
}

/// NoticeResponse. What a client cannot do without is added where it is missing.
pub fn notice_response(out: &mut BytesMut, fields: &ErrorFields) {
    report(out, b'N', fields, (b"NOTICE", super::sqlstate::SUCCESS));
}

fn report(out: &mut BytesMut, tag: u8, fields: &ErrorFields, (severity, code): (&[u8], &str)) {
    let body = fields.body();
    let view = ErrorView::new(body);
    frame(out, tag, |out| {
        for (field, default) in [
            (b'S', view.get(b'V').unwrap_or(severity)),
            (b'V', severity),
            (b'C', code.as_bytes()),
            (b'M', &b"no message"[..]),
        ] {
            out.put_u8(field);
            put_text(out, view.get(field).unwrap_or(default));
        }
        for (field, value) in view.fields() {
            if !matches!(field, b'S' | b'V' | b'C' | b'M') {
                out.put_u8(field);
                put_text(out, value);
            }
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error_fields::Severity;
    use crate::protocol::frame::peek_backend;
    use crate::protocol::messages::{self, Authentication};

    fn built(build: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        build(&mut out);
        let (_, header) = peek_backend(&out).unwrap().unwrap();
        assert_eq!(header.len, out.len());
        out
    }

    #[test]
    fn authentication_requests_decode_to_themselves() {
        let cases: [(BytesMut, Authentication<'_>); 6] = [
            (built(authentication_ok), Authentication::Ok),
            (built(authentication_cleartext), Authentication::Cleartext),
            (
                built(|out| authentication_md5(out, [1, 2, 3, 4])),
                Authentication::Md5 { salt: [1, 2, 3, 4] },
            ),
            (
                built(|out| authentication_sasl(out, &["A", "B"])),
                Authentication::Sasl {
                    mechanisms: vec![b"A", b"B"],
                },
            ),
            (
                built(|out| authentication_sasl_continue(out, b"r=1")),
                Authentication::SaslContinue(b"r=1"),
            ),
            (
                built(|out| authentication_sasl_final(out, b"v=1")),
                Authentication::SaslFinal(b"v=1"),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(messages::authentication(&bytes[5..]).unwrap(), expected);
        }
    }

    #[test]
    fn every_fixed_answer_is_a_known_server_message() {
        let fixed: [fn(&mut BytesMut); 6] = [
            parse_complete,
            bind_complete,
            close_complete,
            no_data,
            portal_suspended,
            empty_query_response,
        ];
        for build in fixed {
            built(build);
        }
        built(|out| ready_for_query(out, TransactionStatus::Failed));
        built(|out| command_complete(out, "SHOW"));
        built(|out| parameter_description(out, &[23, 25]));
        built(|out| negotiate_protocol_version(out, 0, &["_pq_.x"]));
    }

    #[test]
    fn rows_are_byte_exact() {
        let column = Column {
            name: "a",
            type_oid: 23,
            type_size: 4,
            format: 0,
        };
        let out = built(|out| row_description(out, &[column]));
        assert_eq!(
            &out[5..],
            b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"
        );
        let out = built(|out| data_row(out, &[Some(&b"7"[..]), None]));
        assert_eq!(&out[5..], b"\0\x02\0\0\0\x017\xff\xff\xff\xff");
        built(|out| data_row::<&[u8]>(out, &[]));
        built(|out| row_description(out, &[]));
    }

    #[test]
    fn an_error_without_a_sqlstate_gets_one_before_a_client_sees_it() {
        let out = built(|out| error_response(out, &ErrorFields::parse(b"SERROR\0Mboom\0\0")));
        assert_eq!(&out[5..], b"SERROR\0VERROR\0CXX000\0Mboom\0\0");
        let fatal = ErrorFields::new(Severity::Fatal, "3D000", "no such database").detail("x");
        let out = built(|out| error_response(out, &fatal));
        assert_eq!(
            &out[5..],
            b"SFATAL\0VFATAL\0C3D000\0Mno such database\0Dx\0\0"
        );
    }

    #[test]
    fn negotiation_carries_the_whole_version() {
        let out = built(|out| negotiate_protocol_version(out, 2, &["_pq_.a"]));
        let decoded = messages::negotiate_protocol_version(&out[5..]).unwrap();
        assert_eq!(decoded.newest, 0x0003_0002);
        assert_eq!(decoded.unknown_options, [b"_pq_.a"]);
    }
}
