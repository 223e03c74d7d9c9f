//! Our own framing held against an independent one: what we build, pgwire reads as the same, and
//! what pgwire builds, we read as the same. Well-formed messages only; what it makes of malformed
//! ones is why it is not on the path (`docs/decisions/0002`).

use bytes::BytesMut;
use pgwire::messages::data::{DataRow, RowDescription};
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse, Sync};
use pgwire::messages::response::{CommandComplete, ErrorResponse, ReadyForQuery};
use pgwire::messages::simplequery::Query;
use pgwire::messages::{DecodeContext, Message, ProtocolVersion};
use proptest::prelude::*;

use super::error_fields::{ErrorFields, Severity};
use super::frame::{HEADER, TransactionStatus};
use super::to_client::Column;
use super::{messages, to_client, to_server};

fn context() -> DecodeContext {
    DecodeContext::new(ProtocolVersion::PROTOCOL3_0)
}

/// Has pgwire read what we built, and nothing left over.
fn read<M: Message>(built: &BytesMut) -> M {
    let mut frame = built.clone();
    let message = M::decode(&mut frame, &context()).unwrap().unwrap();
    assert!(frame.is_empty());
    message
}

fn built(build: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    build(&mut out);
    out
}

proptest! {
    #[test]
    fn parse_and_query_mean_the_same_to_both(name in "[a-z0-9_]{0,20}", sql in "[ -~]{0,200}") {
        let ours = built(|out| to_server::parse(out, name.as_bytes(), sql.as_bytes(), &[0, 1, 0, 0, 0, 23]));
        let theirs: Parse = read(&ours);
        prop_assert_eq!(theirs.name.as_deref().unwrap_or(""), name.as_str());
        prop_assert_eq!(&theirs.query, &sql);
        prop_assert_eq!(&theirs.type_oids, &[23]);
        let mut again = BytesMut::new();
        theirs.encode(&mut again).unwrap();
        let decoded = messages::parse(&again[HEADER..]).unwrap();
        prop_assert_eq!(decoded.name, name.as_bytes());
        prop_assert_eq!(decoded.query, sql.as_bytes());

        let query: Query = read(&built(|out| to_server::query(out, sql.as_bytes())));
        prop_assert_eq!(&query.query, &sql);
    }

    #[test]
    fn rows_mean_the_same_to_both(values in prop::collection::vec(prop::option::of("[ -~]{0,40}"), 0..8)) {
        let ours = built(|out| to_client::data_row(out, &values));
        let theirs: DataRow = read(&ours);
        prop_assert_eq!(usize::try_from(theirs.field_count).unwrap(), values.len());
        let mut again = BytesMut::new();
        theirs.encode(&mut again).unwrap();
        prop_assert_eq!(again, ours);
    }
}

#[test]
fn messages_of_the_extended_protocol_mean_the_same_to_both() {
    let bind: Bind = read(&built(|out| {
        to_server::bind_header(out, b"p", b"s", 6);
        out.extend_from_slice(&[0; 6]);
    }));
    assert_eq!(
        (bind.portal_name.as_deref(), bind.statement_name.as_deref()),
        (Some("p"), Some("s"))
    );
    let statement = messages::Target::Statement;
    let describe: Describe = read(&built(|out| to_server::describe(out, statement, b"s")));
    assert_eq!(
        (describe.target_type, describe.name.as_deref()),
        (b'S', Some("s"))
    );
    let close: Close = read(&built(|out| {
        to_server::close(out, messages::Target::Portal, b"p")
    }));
    assert_eq!(
        (close.target_type, close.name.as_deref()),
        (b'P', Some("p"))
    );
    let execute: Execute = read(&built(|out| to_server::execute(out, b"p", 7)));
    assert_eq!((execute.name.as_deref(), execute.max_rows), (Some("p"), 7));
    let _sync: Sync = read(&built(to_server::sync));
}

#[test]
fn answers_of_our_own_mean_the_same_to_both() {
    let column = Column {
        name: "n",
        type_oid: 20,
        type_size: 8,
        format: 1,
    };
    let rows: RowDescription = read(&built(|out| to_client::row_description(out, &[column])));
    assert_eq!(
        (rows.fields[0].name.as_str(), rows.fields[0].type_id),
        ("n", 20)
    );
    let done: CommandComplete = read(&built(|out| to_client::command_complete(out, "SHOW")));
    assert_eq!(done.tag, "SHOW");
    for status in [
        TransactionStatus::Idle,
        TransactionStatus::InTransaction,
        TransactionStatus::Failed,
    ] {
        let built = built(|out| to_client::ready_for_query(out, status));
        let ready: ReadyForQuery = read(&built);
        let mut again = BytesMut::new();
        ready.encode(&mut again).unwrap();
        assert_eq!(again, built);
    }
    let fields = ErrorFields::new(Severity::Fatal, "53300", "no").hint("wait");
    let error: ErrorResponse = read(&built(|out| to_client::error_response(out, &fields)));
    assert!(error.fields.contains(&(b'C', "53300".to_owned())));
    assert!(error.fields.contains(&(b'H', "wait".to_owned())));
}
