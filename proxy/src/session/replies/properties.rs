//! The queue against a model of the server: whatever is sent and whatever fails, the client sees what the
//! server would have told it, in order, and exactly what did not happen is taken back.

use proptest::prelude::*;

use super::*;
use crate::protocol::frame::Backend;
use crate::router::Command;
use crate::session::rewrite::Changes;

/// Something that was sent, and whether the server fails at it.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Parse { visible: bool },
    Bind,
    Describe,
    Execute { rows: u8 },
    Close { visible: bool },
    Local,
    Sync,
    Query,
    Function,
    Setup,
}

fn sent() -> impl Strategy<Value = (Sent, bool)> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|visible| Sent::Parse { visible }),
        Just(Sent::Bind),
        Just(Sent::Describe),
        (0_u8..3).prop_map(|rows| Sent::Execute { rows }),
        any::<bool>().prop_map(|visible| Sent::Close { visible }),
        Just(Sent::Local),
        Just(Sent::Sync),
        Just(Sent::Query),
        Just(Sent::Function),
        Just(Sent::Setup),
    ];
    (kind, prop::bool::weighted(0.15))
}

/// What the client sees of one message: a local answer has no message of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Message(Backend),
    Own,
}

/// The server, and what its client would see of it.
#[derive(Default)]
struct Model {
    skipping: bool,
    says: Vec<Backend>,
    seen: Vec<Seen>,
    undone: Vec<usize>,
}

impl Model {
    fn say(&mut self, message: Backend, visible: bool) {
        self.says.push(message);
        if visible {
            self.seen.push(Seen::Message(message));
        }
    }

    fn take(&mut self, number: usize, sent: Sent, fails: bool) {
        let undoes = matches!(sent, Sent::Parse { .. } | Sent::Close { .. } | Sent::Local);
        if self.skipping && !matches!(sent, Sent::Sync) {
            self.undone.extend(undoes.then_some(number));
            return;
        }
        if fails && !matches!(sent, Sent::Local | Sent::Setup | Sent::Sync) {
            self.say(Backend::ErrorResponse, true);
            if matches!(sent, Sent::Query | Sent::Function) {
                self.say(Backend::ReadyForQuery, true);
            } else {
                self.skipping = true;
                self.undone.extend(undoes.then_some(number));
            }
            return;
        }
        match sent {
            Sent::Parse { visible } => self.say(Backend::ParseComplete, visible),
            Sent::Bind => self.say(Backend::BindComplete, true),
            Sent::Describe => {
                self.say(Backend::ParameterDescription, true);
                self.say(Backend::NoData, true);
            }
            Sent::Execute { rows } => {
                (0..rows).for_each(|_| self.say(Backend::DataRow, true));
                self.say(Backend::CommandComplete, true);
            }
            Sent::Close { visible } => self.say(Backend::CloseComplete, visible),
            Sent::Local => self.seen.push(Seen::Own),
            Sent::Sync => {
                self.skipping = false;
                self.say(Backend::ReadyForQuery, true);
            }
            Sent::Query => {
                self.say(Backend::RowDescription, true);
                self.say(Backend::DataRow, true);
                self.say(Backend::CommandComplete, true);
                self.say(Backend::ReadyForQuery, true);
            }
            Sent::Function => {
                self.say(Backend::FunctionCallResponse, true);
                self.say(Backend::ReadyForQuery, true);
            }
            Sent::Setup => {
                self.say(Backend::CommandComplete, false);
                self.say(Backend::ReadyForQuery, false);
            }
        }
    }
}

fn reply(number: usize, sent: Sent) -> Reply<usize> {
    let run = Run {
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
    let undo = number;
    match sent {
        Sent::Parse { visible } => Reply::Parse { visible, undo },
        Sent::Bind => Reply::Bind {
            id: 0,
            unnamed: false,
            refused: false,
        },
        Sent::Describe => Reply::Describe { id: 0 },
        Sent::Execute { .. } => Reply::Execute(run),
        Sent::Close { visible } => Reply::Close { visible, undo },
        Sent::Local => Reply::Local {
            bytes: b"".into(),
            undo,
        },
        Sent::Sync => Reply::Sync { visible: true },
        Sent::Query => Reply::Query(run),
        Sent::Function => Reply::Function,
        Sent::Setup => Reply::Setup,
    }
}

/// Gives the queue the server's messages; what the client sees, and what is taken back.
fn play(queue: &mut Replies<usize>, says: &[Backend]) -> (Vec<Seen>, Vec<usize>) {
    let (mut seen, mut undone) = (Vec::new(), Vec::new());
    let locals = |queue: &mut Replies<usize>, seen: &mut Vec<Seen>| {
        while queue.pop_local().is_some() {
            seen.push(Seen::Own);
        }
    };
    for message in says {
        locals(queue, &mut seen);
        let whole = matches!(queue.front(), Some(Reply::Query(_) | Reply::Function));
        match queue.on(*message) {
            Verdict::Relay | Verdict::RelayReady => seen.push(Seen::Message(*message)),
            Verdict::RelayError => {
                seen.push(Seen::Message(*message));
                if !whole {
                    let _skip = queue.fail(|undo| undone.push(undo));
                }
            }
            Verdict::Hide | Verdict::HideReady | Verdict::SetupDone => {}
            verdict @ (Verdict::Answer | Verdict::SetupFailed | Verdict::Violation) => {
                panic!("{verdict:?} of {message:?}")
            }
        }
    }
    locals(queue, &mut seen);
    (seen, undone)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn client_sees_what_the_server_says_in_order(
        mut batch in proptest::collection::vec(sent(), 0..40),
    ) {
        // Requests of our own go ahead of a batch, never into one; and every batch is ended.
        let mut open = false;
        batch.retain(|(sent, _)| {
            let keep = !open || !matches!(sent, Sent::Setup);
            open = match sent {
                Sent::Sync | Sent::Query | Sent::Function | Sent::Setup => open && !matches!(sent, Sent::Sync),
                _ => true,
            };
            keep
        });
        batch.push((Sent::Sync, false));
        let (mut model, mut queue) = (Model::default(), Replies::default());
        for (number, (sent, fails)) in batch.iter().enumerate() {
            queue.push(reply(number, *sent));
            model.take(number, *sent, *fails);
        }
        let (seen, mut undone) = play(&mut queue, &model.says);
        undone.sort_unstable();
        prop_assert_eq!(seen, model.seen);
        prop_assert_eq!(undone, model.undone);
        prop_assert!(queue.is_empty());
    }

    #[test]
    fn lost_connection_takes_back_all_that_was_not_answered(
        batch in proptest::collection::vec(sent(), 0..40),
        heard in 0_usize..60,
    ) {
        let (mut model, mut queue) = (Model::default(), Replies::default());
        for (number, (sent, fails)) in batch.iter().enumerate() {
            queue.push(reply(number, *sent));
            model.take(number, *sent, *fails);
        }
        let heard = heard.min(model.says.len());
        let (seen, mut undone) = play(&mut queue, &model.says[..heard]);
        let ready = |seen: &[Seen]| {
            let is = |s: &&Seen| matches!(s, Seen::Message(Backend::ReadyForQuery));
            seen.iter().filter(is).count()
        };
        prop_assert!(model.seen.starts_with(&seen));
        let owed = queue.abandon(|undo| undone.push(undo));
        prop_assert!(queue.is_empty());
        // Who waits for a ReadyForQuery is told of each, but for a Query that a failed batch skips.
        prop_assert!(ready(&seen) + owed >= ready(&model.seen));
        undone.sort_unstable();
        undone.dedup();
        prop_assert!(model.undone.iter().all(|number| undone.contains(number)
            || seen.len() == model.seen.len()));
    }
}
