//! Each of the server's messages against what is owed next: what it answers, and for whom.

use super::{Replies, Reply, Verdict};
use crate::protocol::frame::Backend;

impl<U> Replies<U> {
    /// Takes in one message of the server that answers something (not notices, notifications or
    /// parameter changes, which come any time).
    pub(crate) fn on(&mut self, message: Backend) -> Verdict {
        match self.queue.front() {
            Some(Reply::Setup) => self.on_setup(message),
            Some(Reply::Probe) => self.on_probe(message),
            Some(Reply::Own) => self.on_own(message),
            Some(Reply::Query(_)) => self.on_query(message),
            Some(Reply::Function) => self.on_function(message),
            Some(Reply::Execute(_)) => self.on_execute(message),
            Some(Reply::Parse { visible, .. }) => {
                self.on_single(message, Backend::ParseComplete, *visible)
            }
            Some(Reply::Close { visible, .. }) => {
                self.on_single(message, Backend::CloseComplete, *visible)
            }
            Some(Reply::Bind { refused: true, .. }) if message != Backend::ErrorResponse => {
                Verdict::Violation
            }
            Some(Reply::Bind { .. }) => self.on_single(message, Backend::BindComplete, true),
            Some(Reply::Describe { .. }) => self.on_describe(message),
            Some(Reply::Sync { visible }) => {
                let visible = *visible;
                match message {
                    Backend::ReadyForQuery => {
                        self.queue.pop_front();
                        if visible {
                            Verdict::RelayReady
                        } else {
                            Verdict::HideReady
                        }
                    }
                    // The commit of the implicit transaction may fail.
                    Backend::ErrorResponse => Verdict::RelayError,
                    _ => Verdict::Violation,
                }
            }
            Some(Reply::Local { .. } | Reply::LocalReady { .. }) | None => Verdict::Violation,
        }
    }

    fn on_setup(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ErrorResponse => Verdict::SetupFailed,
            Backend::ReadyForQuery => {
                self.queue.pop_front();
                Verdict::SetupDone
            }
            Backend::RowDescription | Backend::DataRow | Backend::CommandComplete => Verdict::Hide,
            _ => Verdict::Violation,
        }
    }

    fn on_probe(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ReadyForQuery => {
                self.queue.pop_front();
                Verdict::SetupDone
            }
            Backend::DataRow => Verdict::Answer,
            Backend::RowDescription | Backend::CommandComplete | Backend::ErrorResponse => {
                Verdict::Hide
            }
            _ => Verdict::Violation,
        }
    }

    fn on_own(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ErrorResponse => Verdict::SetupFailed,
            Backend::CloseComplete => {
                self.queue.pop_front();
                Verdict::Hide
            }
            Backend::ParseComplete
            | Backend::BindComplete
            | Backend::DataRow
            | Backend::CommandComplete => Verdict::Hide,
            _ => Verdict::Violation,
        }
    }

    fn on_query(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ReadyForQuery => {
                self.queue.pop_front();
                Verdict::RelayReady
            }
            Backend::ErrorResponse
            | Backend::CommandComplete
            | Backend::RowDescription
            | Backend::DataRow
            | Backend::EmptyQueryResponse
            | Backend::CopyInResponse
            | Backend::CopyOutResponse
            | Backend::CopyBothResponse
            | Backend::CopyData
            | Backend::CopyDone => {
                if message == Backend::ErrorResponse {
                    Verdict::RelayError
                } else {
                    Verdict::Relay
                }
            }
            _ => Verdict::Violation,
        }
    }

    fn on_function(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ReadyForQuery => {
                self.queue.pop_front();
                Verdict::RelayReady
            }
            Backend::FunctionCallResponse => Verdict::Relay,
            Backend::ErrorResponse => Verdict::RelayError,
            _ => Verdict::Violation,
        }
    }

    fn on_execute(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::CommandComplete | Backend::EmptyQueryResponse | Backend::PortalSuspended => {
                self.queue.pop_front();
                Verdict::Relay
            }
            Backend::DataRow
            | Backend::CopyInResponse
            | Backend::CopyOutResponse
            | Backend::CopyBothResponse
            | Backend::CopyData
            | Backend::CopyDone => Verdict::Relay,
            Backend::ErrorResponse => Verdict::RelayError,
            _ => Verdict::Violation,
        }
    }

    fn on_describe(&mut self, message: Backend) -> Verdict {
        match message {
            Backend::ParameterDescription => Verdict::Relay,
            Backend::RowDescription | Backend::NoData => {
                self.queue.pop_front();
                Verdict::Relay
            }
            Backend::ErrorResponse => Verdict::RelayError,
            _ => Verdict::Violation,
        }
    }

    fn on_single(&mut self, message: Backend, wanted: Backend, visible: bool) -> Verdict {
        if message == wanted {
            self.queue.pop_front();
            if visible {
                Verdict::Relay
            } else {
                Verdict::Hide
            }
        } else if message == Backend::ErrorResponse {
            Verdict::RelayError
        } else {
            Verdict::Violation
        }
    }
}
