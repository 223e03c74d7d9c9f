//! Transactions that have failed while no server has them: their server connection was lost, or none was to be
//! had. As with a server of one's own everything is refused until the client has ended them, so that what
//! stood behind the failure is never done by itself.

use super::{End, Session, Step};
use crate::error::Report;
use crate::protocol::frame::{Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::sqlstate;
use crate::router::{self, Control, TransactionEffect};

impl Session {
    /// No server has the present transaction any more. It has failed if its client takes it to be `open`.
    pub(super) fn transaction_is_over(&mut self, open: bool) {
        self.transaction_lost();
        self.opening = false;
        if open {
            self.transaction.status = TransactionStatus::Failed;
        }
    }

    /// The client is told that its transaction is gone, at its first request since. One that gives it up
    /// need not be told.
    pub(super) fn tell_broken(&mut self, kind: Frontend, header: Header) -> Result<Step, End> {
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Step::Wait);
        }
        let Some(report) = self.broken.take() else {
            return Ok(Step::Again);
        };
        let control = self.control(kind, header);
        if control == Some(Control::Rollback) {
            self.transaction_is_over(false);
            self.answer_end(header);
            return Ok(Step::Again);
        }
        let commits = control == Some(Control::Commit) || self.plan.is_only_end().is_some();
        self.transaction_is_over(!commits);
        Ok(self.refuse(kind, header, &report))
    }

    /// What comes in a transaction that has failed and that no server has; `None` when it goes its usual way.
    pub(super) fn in_failed(
        &mut self,
        kind: Frontend,
        header: Header,
    ) -> Result<Option<Step>, End> {
        let failed = self.transaction.status == TransactionStatus::Failed && self.link.is_none();
        if !failed || matches!(kind, Frontend::Sync | Frontend::Flush) {
            return Ok(None);
        }
        if self.plan.ready == 0 && !self.look_ahead()? {
            return Ok(Some(Step::Wait));
        }
        match self.control(kind, header) {
            Some(Control::Commit | Control::Rollback) => {
                self.transaction_is_over(false);
                self.answer_end(header);
                return Ok(Some(Step::Again));
            }
            Some(Control::Begin(_) | Control::Start(_) | Control::Set(_)) | None => {}
        }
        match self.plan.is_only_end() {
            // A server that has no transaction answers it as well.
            Some(TransactionEffect::Rollback) => {
                self.transaction_is_over(false);
                return Ok(None);
            }
            // But would say of this that it was done.
            Some(_commit) => self.transaction_is_over(false),
            None => {}
        }
        Ok(Some(self.refuse(kind, header, &aborted())))
    }

    fn control(&self, kind: Frontend, header: Header) -> Option<Control> {
        let buffers = self.buffers.as_deref()?;
        let text = buffers.client_in.get(HEADER..header.len);
        let query = text.filter(|_| kind == Frontend::Query)?;
        router::control(query.strip_suffix(b"\0")?)
    }
}

/// As the server says it.
fn aborted() -> Report {
    Report::new(
        sqlstate::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
