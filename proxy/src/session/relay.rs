//! Understanding the server: its messages go to the client as they came, in spans, except for
//! those that answer something the client did not ask.
//!
//! Only headers are read of rows; bodies only where a decision needs them.

use bytes::Buf;

use super::context::Buffers;
use super::refusal::Refused;
use super::replay::{Ran, Replay};
use super::replies::{Reply, Verdict};
use super::run::Tag;
use super::stale::Staleness;
use super::statements::Undo;
use super::{Batch, Detour, End, Phase, Session, failure};
use crate::clock;
use crate::error::Report;
use crate::metrics::Severity;
use crate::protocol::error_fields::ErrorView;
use crate::protocol::frame::{self, Backend, HEADER, Header, TransactionStatus};
use crate::protocol::{messages, to_client};
use crate::registry::Activity;

/// What one message asks for beyond passing it on.
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// The message is not for the client.
    Hidden,
    /// Nor is this one; the client's parameters are set.
    SetupDone,
    /// ReadyForQuery.
    Ready {
        status: TransactionStatus,
        hidden: bool,
    },
    /// An error in the extended protocol or a query.
    Failed,
    /// The server is about to close the connection, or does what makes no sense.
    Lost(Report),
    /// The client's parameters could not be set.
    SetupFailed(Report, Ran),
}

impl Session {
    /// Takes in what the server has sent.
    pub(super) fn on_server_bytes(&mut self) -> Result<(), End> {
        if self.relay_whole_span() {
            return Ok(());
        }
        loop {
            let Some(buffers) = self.buffers.as_deref() else {
                return Ok(());
            };
            let next = match frame::peek_backend(&buffers.server_in) {
                Ok(next) => next,
                Err(e) => return self.lose_server(failure::server_violation(&e.to_string())),
            };
            let Some((kind, header)) = next else { break };
            let own = buffers.replies.front_is_own();
            if buffers.server_in.len() < header.len && (own || !streams(kind)) {
                break;
            }
            match self.look_for_stale(kind, header) {
                Staleness::None => {}
                Staleness::Wait => break,
                Staleness::Mended(length) => {
                    self.drop_bytes(length);
                    continue;
                }
            }
            match self.look_for_refusal(kind) {
                Refused::No => {}
                Refused::Wait => break,
                Refused::Mended(length) => {
                    self.drop_bytes(length);
                    continue;
                }
            }
            self.show(kind, header);
            match self.on_message(kind, header) {
                After::Nothing => self.pass_on(header),
                After::Hidden => self.drop_message(header),
                After::SetupDone => {
                    self.drop_message(header);
                    self.setup_done();
                }
                After::Ready { status, hidden } => {
                    let status = self.status_of(status, hidden);
                    if hidden {
                        self.drop_message(header);
                    } else {
                        self.detour = Detour::None;
                        self.foretell_parameters();
                        self.pass_on(header);
                    }
                    self.on_ready(status);
                }
                After::Failed => {
                    self.pass_error_on(header);
                    self.on_failed();
                }
                After::Lost(report) => return self.lose_server(report),
                After::SetupFailed(report, ran) => return self.setup_failed(report, ran),
            }
            self.answer_locals();
            if self.link.is_none() || self.through() > 0 {
                break;
            }
        }
        self.release_if_done();
        Ok(())
    }

    /// The server answers: from now on the client sees it, and our own answers that come first.
    /// Not yet when it only says that it goes, or answers what the client did not ask.
    fn show(&mut self, kind: Backend, header: Header) {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref_mut()) else {
            return;
        };
        if link.replay != Replay::No {
            let body = &buffers.server_in[HEADER.min(header.len)..];
            let goes = kind == Backend::ErrorResponse && ErrorView::new(body).is_fatal();
            let own = buffers.replies.front_is_own();
            if goes || own {
                return;
            }
            link.replay = Replay::No;
        }
        self.answer_locals();
    }

    /// Bytes of a message already begun that are still to be passed on.
    fn through(&self) -> usize {
        self.link.as_ref().map_or(0, |l| l.through)
    }

    /// Passes on the rest of a long message, and all rows that follow it. True when that was all.
    fn relay_whole_span(&mut self) -> bool {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref_mut()) else {
            return true;
        };
        let n = link.through.min(buffers.server_in.len());
        if n > 0 {
            link.through -= n;
            move_front(buffers, n);
        }
        buffers.server_in.is_empty()
    }

    /// Passes a message on, and the rows right after it with it.
    fn pass_on(&mut self, header: Header) {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref_mut()) else {
            return;
        };
        let mut end = header.len;
        if buffers.replies.rows_are_relayed() {
            end = rows_end(&buffers.server_in, end);
        }
        let there = end.min(buffers.server_in.len());
        link.through = end - there;
        move_front(buffers, there);
    }

    /// Passes an error on, in which statements are called what the client calls them.
    fn pass_error_on(&mut self, header: Header) {
        let renamed = (self.buffers.as_deref()).and_then(|buffers| {
            let body = buffers.server_in.get(HEADER..header.len)?;
            let taken = buffers.replies.undos().filter_map(Undo::name_of);
            let unnamed = buffers.replies.asked_of_unnamed();
            let moved = buffers.replies.changes().and_then(|c| c.error(body));
            moved.or_else(|| self.statements.in_clients_words(body, taken, unnamed))
        });
        let (Some(fields), Some(buffers)) = (renamed, self.buffers.as_deref_mut()) else {
            return self.pass_on(header);
        };
        to_client::error_response(&mut buffers.client_out, &fields);
        self.drop_message(header);
    }

    fn drop_message(&mut self, header: Header) {
        self.drop_bytes(header.len);
    }

    fn drop_bytes(&mut self, length: usize) {
        if let Some(buffers) = self.buffers.as_deref_mut() {
            let there = length.min(buffers.server_in.len());
            buffers.server_in.advance(there);
        }
    }

    fn on_message(&mut self, kind: Backend, header: Header) -> After {
        let (Some(link), Some(buffers)) = (&mut self.link, self.buffers.as_deref_mut()) else {
            return After::Hidden;
        };
        let body =
            &buffers.server_in[HEADER.min(header.len)..header.len.min(buffers.server_in.len())];
        let mut completed = None;
        let put_in = buffers.replies.front_is_put_in();
        match kind {
            Backend::ParameterStatus => return self.on_parameter(header),
            // What the server has to say of our own requests is no matter of the client.
            Backend::NoticeResponse if buffers.replies.front_is_own() => return After::Hidden,
            Backend::NoticeResponse | Backend::NotificationResponse => return After::Nothing,
            Backend::ErrorResponse => {
                let view = ErrorView::new(body);
                let code = view.get(b'C').unwrap_or_default();
                self.context.metrics.error(code);
                link.node.metrics.error(severity(&view));
                if view.is_fatal() {
                    let own = buffers.replies.front_is_own();
                    return ends(&view, own, &link.node.label);
                }
            }
            // With some rows of it, too, its functions have been called.
            Backend::CommandComplete | Backend::PortalSuspended => {
                let own = buffers.replies.front_is_own();
                completed = (!own).then(|| (Tag::of(body), buffers.replies.next_part()));
            }
            Backend::CopyInResponse => {
                if buffers.replies.copy_in_began() {
                    self.batch = Batch::Bound;
                }
                self.phase = Phase::CopyIn;
            }
            Backend::CopyBothResponse => {
                return After::Lost(failure::server_violation("replication was not asked for"));
            }
            Backend::Authentication
            | Backend::BackendKeyData
            | Backend::NegotiateProtocolVersion => {
                return After::Lost(failure::server_violation("a login message after the login"));
            }
            Backend::BindComplete
            | Backend::CloseComplete
            | Backend::CopyOutResponse
            | Backend::CopyData
            | Backend::CopyDone
            | Backend::DataRow
            | Backend::EmptyQueryResponse
            | Backend::FunctionCallResponse
            | Backend::NoData
            | Backend::ParameterDescription
            | Backend::ParseComplete
            | Backend::ReadyForQuery
            | Backend::RowDescription => {}
        }
        if ends_statement(kind) {
            self.transaction.note_write(buffers.replies.front_writes());
        }
        let after = match buffers.replies.on(kind) {
            Verdict::Answer => {
                if !self.beginning.answered(body) {
                    self.pins.answered(body);
                }
                After::Hidden
            }
            Verdict::Relay if put_in => After::Hidden,
            verdict => after(verdict, kind, body),
        };
        if let Some((tag, part)) = completed {
            self.completed(tag, part);
        }
        after
    }

    fn on_failed(&mut self) {
        self.transaction.failed = true;
        self.pins.failed();
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return;
        };
        if matches!(
            buffers.replies.front(),
            Some(Reply::Query(_) | Reply::Function)
        ) {
            self.phase = Phase::Normal;
            return;
        }
        // A Parse that fails takes the unnamed statement with it; one that is skipped does not.
        let unnamed = matches!(
            buffers.replies.front(),
            Some(Reply::Parse { visible: true, undo: Undo::Rename(rename) }) if rename.name.is_empty()
        );
        let mut undone = Vec::new();
        let skip = buffers.replies.fail(|undo| undone.push(undo));
        undone.into_iter().rev().for_each(|undo| self.undo(undo));
        if unnamed {
            self.statements.set(b"", None);
        }
        self.phase = if skip {
            Phase::SkipToSync
        } else {
            Phase::Normal
        };
    }

    /// ReadyForQuery has come.
    fn on_ready(&mut self, status: TransactionStatus) {
        self.transaction.status = status;
        // More requests may be on their way already: the next one begins here.
        let more = self.buffers.as_ref().is_some_and(|b| !b.replies.is_empty());
        self.opening &= more && status == TransactionStatus::Idle;
        let now = clock::now();
        let started = self.link.as_ref().map_or(clock::NEVER, |l| l.started);
        self.count_ready(started, now);
        if let Some(link) = &mut self.link {
            link.at_rest = true;
            if link.started != clock::NEVER {
                let seconds = micros_to_seconds(now - link.started);
                link.node.metrics.query_seconds.observe(seconds);
                link.node.answered(link.started, now, more);
            }
            link.started = if more { now } else { clock::NEVER };
        }
        if self.detour != Detour::Primary {
            self.detour = Detour::None;
        }
        self.replays = 0;
        if !more {
            // A Query, too, ends what a batch before it left open.
            self.batch = Batch::None;
        }
        if status == TransactionStatus::Idle {
            self.identity.registration.client().transaction_ended();
            if std::mem::take(&mut self.transaction.wrote) {
                let tables = std::mem::take(&mut self.transaction.tables);
                self.note_write(tables, now);
            }
            // A later batch may have bound portals already.
            if !more {
                self.statements.transaction_ended();
            }
        }
        self.settle_beginning();
        self.settle_parameters(status == TransactionStatus::Idle);
        self.transaction.failed = false;
        self.transaction.called = false;
        if !more {
            self.trust_text_again();
            self.restore_parameters();
            self.ask_pins();
        }
        self.note_activity(
            match status {
                _ if more => Activity::Active,
                TransactionStatus::Idle => Activity::Idle,
                TransactionStatus::InTransaction | TransactionStatus::Failed => {
                    Activity::IdleInTransaction
                }
            },
            now,
        );
        if self.phase == Phase::CopyIn {
            self.phase = Phase::Normal;
        }
    }
}

/// Whether what a statement did is done with it; with an error, too, a procedure may have
/// committed something before.
fn ends_statement(kind: Backend) -> bool {
    match kind {
        Backend::CommandComplete
        | Backend::PortalSuspended
        | Backend::FunctionCallResponse
        | Backend::ErrorResponse => true,
        Backend::Authentication
        | Backend::BackendKeyData
        | Backend::BindComplete
        | Backend::CloseComplete
        | Backend::CopyInResponse
        | Backend::CopyOutResponse
        | Backend::CopyBothResponse
        | Backend::CopyData
        | Backend::CopyDone
        | Backend::DataRow
        | Backend::EmptyQueryResponse
        | Backend::NegotiateProtocolVersion
        | Backend::NoData
        | Backend::NoticeResponse
        | Backend::NotificationResponse
        | Backend::ParameterDescription
        | Backend::ParameterStatus
        | Backend::ParseComplete
        | Backend::ReadyForQuery
        | Backend::RowDescription => false,
    }
}

fn severity(view: &ErrorView<'_>) -> Severity {
    Severity::from_field(
        view.get(b'V')
            .or_else(|| view.get(b'S'))
            .unwrap_or_default(),
    )
}

/// The server ends the connection with this error, as it does when it can't do what we ask of it
/// ourselves; or because it goes, whatever it was asked (class 57, operator intervention).
fn ends(view: &ErrorView<'_>, own: bool, node: &str) -> After {
    let goes = view.get(b'C').is_some_and(|code| code.starts_with(b"57P"));
    if own && !goes {
        After::SetupFailed(failure::setup(view), Ran::Nothing)
    } else {
        After::Lost(failure::server_said(view, node))
    }
}

/// Whether a message is passed on as it comes, however long it is.
fn streams(kind: Backend) -> bool {
    match kind {
        Backend::DataRow
        | Backend::CopyData
        | Backend::RowDescription
        | Backend::FunctionCallResponse
        | Backend::NotificationResponse
        | Backend::NoticeResponse => true,
        Backend::Authentication
        | Backend::BackendKeyData
        | Backend::BindComplete
        | Backend::CloseComplete
        | Backend::CommandComplete
        | Backend::CopyInResponse
        | Backend::CopyOutResponse
        | Backend::CopyBothResponse
        | Backend::CopyDone
        | Backend::EmptyQueryResponse
        | Backend::ErrorResponse
        | Backend::NegotiateProtocolVersion
        | Backend::NoData
        | Backend::ParameterDescription
        | Backend::ParameterStatus
        | Backend::ParseComplete
        | Backend::PortalSuspended
        | Backend::ReadyForQuery => false,
    }
}

/// Where the rows end that begin at `at`; past the end of `buf` when the last is not whole.
fn rows_end(buf: &[u8], mut at: usize) -> usize {
    while let Some(&[tag @ (b'D' | b'd'), a, b, c, d]) = buf.get(at..).and_then(<[u8]>::first_chunk)
    {
        let Ok(length) = usize::try_from(i32::from_be_bytes([a, b, c, d])) else {
            break;
        };
        if length < 4 || (tag == b'D' && length < 6) {
            // Left for the framing to refuse.
            break;
        }
        at += 1 + length;
    }
    at
}

/// Moves bytes from the server's side to the client's; without copying when that is all there is.
fn move_front(buffers: &mut Buffers, n: usize) {
    if buffers.client_out.is_empty() && n == buffers.server_in.len() {
        std::mem::swap(&mut buffers.client_out, &mut buffers.server_in);
    } else {
        buffers
            .client_out
            .extend_from_slice(&buffers.server_in[..n]);
        buffers.server_in.advance(n);
    }
}

/// What a message asks for whose place in the queue is known.
fn after(verdict: Verdict, kind: Backend, body: &[u8]) -> After {
    match verdict {
        Verdict::Relay => After::Nothing,
        Verdict::Hide | Verdict::Answer => After::Hidden,
        Verdict::SetupDone => After::SetupDone,
        Verdict::RelayReady | Verdict::HideReady => match messages::ready_for_query(body) {
            Ok(status) => After::Ready {
                status,
                hidden: verdict == Verdict::HideReady,
            },
            Err(e) => After::Lost(failure::server_violation(&e.to_string())),
        },
        Verdict::RelayError => After::Failed,
        Verdict::SetupFailed => {
            After::SetupFailed(failure::setup(&ErrorView::new(body)), Ran::Perhaps)
        }
        Verdict::Violation => After::Lost(failure::server_violation(&format!(
            "{kind:?} was not asked for"
        ))),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of a query fit 52 bits"
)]
fn micros_to_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
