//! The end of a session: nothing of it is left on a server connection that others will use.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{End, Rest, Session, failure};
use crate::backend::cancel;
use crate::backend::reset::{self, Leftover};
use crate::clock;
use crate::protocol::error_fields::Severity;
use crate::protocol::frame::TransactionStatus;

/// How long a client may take to read the last words.
const FAREWELL: Duration = Duration::from_secs(2);

impl Session {
    /// Ends the session.
    pub(super) async fn close(mut self, end: End) {
        // In the middle of a row there is no place for words.
        let midway = self.link.as_ref().is_some_and(|l| l.through > 0);
        self.leave_server();
        let told = matches!(end, End::Told(_));
        if let (End::Told(report), false) = (end, midway) {
            tracing::debug!(client = %self.identity.address, error = %report, "session ended");
            failure::say(self.buffers(), Severity::Fatal, &report);
        }
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return;
        };
        let client = &mut self.client;
        let drained = async {
            poll_fn(|cx| client.poll_drain(cx, &mut buffers.client_out)).await?;
            client.flush().await?;
            if told { client.linger().await } else { Ok(()) }
        };
        if !matches!(tokio::time::timeout(FAREWELL, drained).await, Ok(Ok(()))) {
            tracing::trace!(client = %self.identity.address, "last words not delivered");
        }
        if let Some(mut buffers) = self.buffers.take() {
            buffers.clear();
            self.context.return_buffers(buffers);
        }
    }

    /// Parts with the server connection: as it is if it is clean, after a reset if that is known
    /// to make it clean, and else by closing it.
    fn leave_server(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        self.identity.registration.client().nothing_to_cancel();
        let unfinished = link.through > 0
            || matches!(self.rest, Rest::Server(_))
            || !link.checkout.stream.is_flushed()
            || self.batch.is_open()
            || self.buffers.as_ref().is_some_and(|b| {
                !b.replies.is_empty() || !b.server_out.is_empty() || !b.server_in.is_empty()
            });
        if unfinished {
            // Nobody waits for what still runs: stop it, then close.
            tokio::spawn(async move {
                cancel::abandon(&link.checkout.key).await;
                drop(link);
            });
            return;
        }
        let leftover = if self.pins.leave_traces() {
            return;
        } else if self.keeps_its_connection() {
            Leftover::Session
        } else if self.transaction.status != TransactionStatus::Idle {
            self.parameters.rolled_back();
            self.leave_parameters(&mut link);
            Leftover::Transaction
        } else {
            self.leave_parameters(&mut link);
            link.checkout.release(clock::now());
            return;
        };
        tokio::spawn(async move {
            if reset::reset(&mut link.checkout, leftover).await {
                link.checkout.release(clock::now());
            }
        });
    }
}
