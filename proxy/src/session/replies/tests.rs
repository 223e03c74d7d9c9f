use super::*;
use crate::protocol::frame::Backend;
use crate::router::Command;
use crate::session::rewrite::Changes;

const READ: Run = Run {
    command: Command::Select,
    statement: 0,
    writes: false,
    tables: crate::router::Tables::NONE,
    block: crate::session::run::Block::Same,
    commits: false,
    discards: false,
    parts: Vec::new(),
    changes: Changes::NONE,
};

fn queue(replies: Vec<Reply<u8>>) -> Replies<u8> {
    let mut q = Replies::default();
    replies.into_iter().for_each(|r| q.push(r));
    q
}

#[test]
fn answers_are_matched_in_order_and_injected_ones_are_hidden() {
    let mut q = queue(vec![
        Reply::Parse {
            visible: false,
            undo: 1,
        },
        Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        },
        Reply::Describe { id: 0 },
        Reply::Execute(READ),
        Reply::Sync { visible: true },
    ]);
    assert_eq!(q.on(Backend::ParseComplete), Verdict::Hide);
    assert_eq!(q.on(Backend::BindComplete), Verdict::Relay);
    assert_eq!(q.on(Backend::RowDescription), Verdict::Relay);
    assert_eq!(q.on(Backend::DataRow), Verdict::Relay);
    assert_eq!(q.on(Backend::CommandComplete), Verdict::Relay);
    assert_eq!(q.on(Backend::ReadyForQuery), Verdict::RelayReady);
    assert!(q.is_empty());
}

#[test]
fn error_drops_all_up_to_sync_and_undoes_what_never_happened() {
    let mut q = queue(vec![
        Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        },
        Reply::Parse {
            visible: true,
            undo: 1,
        },
        Reply::Local {
            bytes: b"1".into(),
            undo: 2,
        },
        Reply::Sync { visible: true },
        Reply::Parse {
            visible: true,
            undo: 3,
        },
    ]);
    assert_eq!(q.on(Backend::ErrorResponse), Verdict::RelayError);
    let mut undone = Vec::new();
    assert!(!q.fail(|u| undone.push(u)), "the client's Sync was sent");
    assert_eq!(undone, [1, 2]);
    assert_eq!(q.on(Backend::ReadyForQuery), Verdict::RelayReady);
    assert_eq!(q.on(Backend::ParseComplete), Verdict::Relay);
}

#[test]
fn error_before_the_clients_sync_makes_its_messages_skipped() {
    let mut q = queue(vec![Reply::Parse {
        visible: true,
        undo: 1,
    }]);
    assert_eq!(q.on(Backend::ErrorResponse), Verdict::RelayError);
    assert!(q.fail(|_| ()));
    let mut q = queue(vec![
        Reply::Parse {
            visible: true,
            undo: 1,
        },
        Reply::Sync { visible: false },
    ]);
    assert_eq!(q.on(Backend::ErrorResponse), Verdict::RelayError);
    assert!(q.fail(|_| ()));
    assert_eq!(q.on(Backend::ReadyForQuery), Verdict::HideReady);
}

#[test]
fn query_behind_a_failed_message_is_skipped_with_it() {
    let mut q = queue(vec![
        Reply::Parse {
            visible: true,
            undo: 1,
        },
        Reply::Query(READ),
        Reply::Sync { visible: true },
    ]);
    assert_eq!(q.on(Backend::ErrorResponse), Verdict::RelayError);
    assert!(!q.fail(|_| ()));
    assert_eq!(q.on(Backend::ReadyForQuery), Verdict::RelayReady);
    assert!(q.is_empty());
}

#[test]
fn what_was_not_asked_for_is_a_violation() {
    assert_eq!(queue(vec![]).on(Backend::DataRow), Verdict::Violation);
    assert_eq!(
        queue(vec![Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        }])
        .on(Backend::DataRow),
        Verdict::Violation
    );
    assert_eq!(
        queue(vec![Reply::Query(READ)]).on(Backend::BindComplete),
        Verdict::Violation
    );
}

#[test]
fn syncs_sent_before_copy_data_are_never_answered() {
    let mut q = queue(vec![Reply::Execute(READ), Reply::Sync { visible: true }]);
    assert_eq!(q.on(Backend::CopyInResponse), Verdict::Relay);
    q.copy_in_began();
    q.push(Reply::Sync { visible: true });
    assert_eq!(q.on(Backend::CommandComplete), Verdict::Relay);
    assert_eq!(q.on(Backend::ReadyForQuery), Verdict::RelayReady);
    assert!(q.is_empty());
}

#[test]
fn lost_connection_owes_one_ready_for_each_request() {
    let mut q = queue(vec![
        Reply::Setup,
        Reply::Query(READ),
        Reply::Parse {
            visible: true,
            undo: 7,
        },
        Reply::Sync { visible: true },
        Reply::Sync { visible: false },
    ]);
    let mut undone = Vec::new();
    assert_eq!(q.abandon(|u| undone.push(u)), 2);
    assert_eq!(undone, [7]);
    assert!(q.is_empty());
}

#[test]
fn batch_starts_over_only_when_nothing_else_is_owed() {
    let parse = |undo| Reply::Parse {
        visible: false,
        undo,
    };
    let mut undone = Vec::new();
    let mut q = queue(vec![
        parse(1),
        Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        },
        Reply::Execute(READ),
    ]);
    assert_eq!(q.start_over(0, |u, _| undone.push(u)), Some(false));
    assert!(q.is_empty());
    let mut q = queue(vec![
        Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        },
        parse(2),
        Reply::Sync { visible: true },
    ]);
    assert_eq!(q.start_over(0, |u, _| undone.push(u)), Some(true));
    assert_eq!(undone, [1, 2]);
    for more in [
        vec![
            Reply::Bind {
                id: 0,
                unnamed: false,
                refused: false,
            },
            Reply::Sync { visible: true },
            Reply::Bind {
                id: 0,
                unnamed: false,
                refused: false,
            },
        ],
        vec![Reply::Sync { visible: true }, Reply::Sync { visible: true }],
        vec![Reply::Query(READ), Reply::Sync { visible: true }],
        vec![
            Reply::Setup,
            Reply::Bind {
                id: 0,
                unnamed: false,
                refused: false,
            },
        ],
    ] {
        let mut q = queue(more);
        let owed = q.len();
        assert_eq!(q.start_over(0, |_, _| panic!("undone")), None);
        assert_eq!(q.len(), owed);
    }
}

#[test]
fn query_that_has_failed_starts_over_when_nothing_else_is_owed() {
    let mut q = queue(vec![Reply::Query(READ)]);
    assert_eq!(q.start_over(0, |_, _| panic!("undone")), Some(true));
    assert!(q.is_empty());
}

#[test]
fn what_the_server_has_done_of_a_batch_that_starts_over_is_told() {
    let mut q = queue(vec![
        Reply::Close {
            visible: false,
            undo: 1,
        },
        Reply::Local {
            bytes: b"".into(),
            undo: 2,
        },
        Reply::Parse {
            visible: true,
            undo: 3,
        },
        Reply::Parse {
            visible: true,
            undo: 4,
        },
        Reply::Execute(READ),
        Reply::Sync { visible: true },
    ]);
    let mut undone = Vec::new();
    let ends = q.start_over(2, |undo, done| undone.push((undo, done)));
    assert_eq!(ends, Some(true));
    assert_eq!(undone, [(1, true), (2, false), (3, true), (4, false)]);
}

#[test]
fn requests_of_our_own_within_a_batch_are_hidden_and_end_the_connection_when_they_fail() {
    let mut q = queue(vec![Reply::Own, Reply::Execute(READ)]);
    for message in [
        Backend::ParseComplete,
        Backend::BindComplete,
        Backend::DataRow,
        Backend::CommandComplete,
    ] {
        assert!(q.front_is_own());
        assert_eq!(q.on(message), Verdict::Hide);
    }
    assert_eq!(q.on(Backend::CloseComplete), Verdict::Hide);
    assert!(!q.front_is_own());
    let mut q = queue(vec![Reply::Own]);
    assert_eq!(q.on(Backend::ErrorResponse), Verdict::SetupFailed);
}

#[test]
fn what_stands_in_for_a_statement_is_never_bound() {
    let bind = || {
        queue(vec![Reply::Bind {
            id: 0,
            unnamed: false,
            refused: true,
        }])
    };
    assert_eq!(bind().on(Backend::BindComplete), Verdict::Violation);
    assert_eq!(bind().on(Backend::ErrorResponse), Verdict::RelayError);
}
