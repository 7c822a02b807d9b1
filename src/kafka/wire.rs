//! One connection's bytes: a task that owns the stream, writes requests, reads frames and hands
//! each to whoever asked, in the order asked (Kafka answers a connection in order).
//!
//! The task reads all the time, also while nobody waits for anything: that is how the other
//! side's death is noticed within milliseconds.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::secure::NAMES;
use super::transport::BoxedStream;
use crate::evidence::report::{Cap, FailureClass, SourceFailure};
use crate::tls::{explain, in_io, is_tls};

/// A request on its way, and where its answer goes.
pub(super) struct Outgoing {
    pub(super) frame: Bytes,
    pub(super) correlation: i32,
    pub(super) reply: oneshot::Sender<Result<Bytes, SourceFailure>>,
}

struct Pending {
    correlation: i32,
    reply: oneshot::Sender<Result<Bytes, SourceFailure>>,
}

/// What has become of the connection: `None` while it lives.
pub(super) type End = Option<SourceFailure>;

/// Ends the connection for this reason, unless it has ended already.
pub(super) fn end(state: &watch::Sender<End>, failure: SourceFailure) {
    state.send_if_modified(|end| {
        let first = end.is_none();
        if first {
            *end = Some(failure);
        }
        first
    });
}

/// Room made for bytes to come: at least this, at most as much again as has come.
const READ_AHEAD: usize = 64 * 1024;

/// What is known of the other side, for the words of failures.
pub(super) struct Side {
    /// Its address.
    pub(super) name: String,
    /// Whether TLS is below.
    pub(super) secure: bool,
    /// Whether a certificate of ours is shown.
    pub(super) shows_identity: bool,
    /// Whether we have logged in by SASL.
    pub(super) logged_in: bool,
}

pub(super) struct Wire {
    side: Side,
    /// Answers that came.
    delivered: u64,
    read: ReadHalf<BoxedStream>,
    write: WriteHalf<BoxedStream>,
    largest: usize,
    incoming: BytesMut,
    outgoing: BytesMut,
    unflushed: bool,
    pending: VecDeque<Pending>,
}

impl Wire {
    pub(super) fn new(stream: BoxedStream, side: Side, largest: usize) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            side,
            delivered: 0,
            read,
            write,
            largest,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            unflushed: false,
            pending: VecDeque::new(),
        }
    }

    /// Runs until the other side closes, something is wrong, or nobody holds the connection.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Outgoing>,
        state: watch::Sender<End>,
    ) {
        let mut ended = state.subscribe();
        let failure = loop {
            // All three branches lose nothing when another one is taken: `read_buf` and
            // `write_buf` either move bytes or do not.
            tokio::select! {
                read = read_some(&mut self.read, &mut self.incoming, self.largest) => {
                    if let Err(failure) = self.take_in(read) {
                        break failure;
                    }
                }
                sent = send_some(&mut self.write, &mut self.outgoing, self.unflushed),
                    if self.unflushed =>
                {
                    match sent {
                        Ok(left) => self.unflushed = left,
                        Err(error) => break self.lost(&error),
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.enqueue(request),
                    None => break self.failure(FailureClass::Closed, "closed by us"),
                },
                _ = ended.wait_for(Option::is_some) => {
                    break self.failure(FailureClass::Closed, "given up");
                }
            }
        };
        end(&state, failure);
        let failure = state.borrow().clone();
        // Dropping what is left, sent or not, would hide why; everybody is told.
        requests.close();
        let unsent = std::iter::from_fn(|| requests.try_recv().ok()).map(|request| request.reply);
        for reply in self.pending.drain(..).map(|p| p.reply).chain(unsent) {
            if let Some(failure) = &failure {
                // An error here means that the asker has gone away, which is its right.
                drop(reply.send(Err(failure.clone())));
            }
        }
    }

    fn failure(&self, class: FailureClass, what: &str) -> SourceFailure {
        SourceFailure::new(class, format!("connection to {}: {what}", self.side.name))
    }

    fn lost(&self, error: &io::Error) -> SourceFailure {
        // With TLS 1.3 a client that shows no certificate hears of it with its first answer.
        if self.delivered == 0
            && let Some(error) = in_io(error)
        {
            let why = explain(error, NAMES, self.side.shows_identity);
            let what = format!("TLS with {}: {why}", self.side.name);
            return SourceFailure::new(FailureClass::Tls, what);
        }
        let what = format!("broken off by the other side: {error}");
        self.failure(FailureClass::Closed, &what)
    }

    /// What a node that closes instead of its first answers may mean by it: ApiVersions is answered
    /// before a login, nothing else is.
    fn hint(&self) -> &'static str {
        match self.delivered {
            0 if !self.side.secure => "; a listener that wants TLS does that (security.protocol)",
            1 | 2 if !self.side.logged_in => {
                "; a listener that wants SASL does that (security.protocol)"
            }
            _ => "",
        }
    }

    fn enqueue(&mut self, request: Outgoing) {
        self.outgoing.extend_from_slice(&request.frame);
        self.unflushed = true;
        self.pending.push_back(Pending {
            correlation: request.correlation,
            reply: request.reply,
        });
    }

    /// Takes what has been read apart into frames and delivers them.
    fn take_in(&mut self, read: io::Result<usize>) -> Result<(), SourceFailure> {
        match read {
            Ok(0) if self.incoming.is_empty() && self.pending.is_empty() => {
                Err(self.failure(FailureClass::Closed, "closed by the other side"))
            }
            Ok(0) => {
                let hint = self.hint();
                let what = format!("closed by the other side instead of an answer{hint}");
                Err(self.failure(FailureClass::Closed, &what))
            }
            Err(error) => Err(self.lost(&error)),
            Ok(_) => {
                while let Some(frame) = self.next_frame()? {
                    self.deliver(frame)?;
                }
                Ok(())
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, SourceFailure> {
        let Some(length) = frame_length(&self.incoming) else {
            return Ok(None);
        };
        if self.delivered == 0 && is_tls(length.to_be_bytes()) {
            let what = "it answers with TLS: set kafka.security.protocol to SSL or SASL_SSL";
            return Err(self.failure(FailureClass::Tls, what));
        }
        let Ok(length) = usize::try_from(length) else {
            let what = format!("frame of {length} bytes");
            return Err(self.failure(FailureClass::Malformed, &what));
        };
        if length > self.largest {
            let what = format!(
                "frame of {length} bytes, more than the {} we read (is this a Kafka listener?)",
                self.largest
            );
            return Err(self.failure(FailureClass::TooLarge(Cap::FrameBytes), &what));
        }
        if self.incoming.len().saturating_sub(4) < length {
            return Ok(None);
        }
        self.incoming.advance(4);
        Ok(Some(self.incoming.split_to(length).freeze()))
    }

    fn deliver(&mut self, frame: Bytes) -> Result<(), SourceFailure> {
        let correlation = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        match (self.pending.pop_front(), correlation) {
            (Some(pending), Some(id)) if pending.correlation == id => {
                self.delivered = self.delivered.saturating_add(1);
                // An error means that the asker has gone away; later answers are still in order.
                drop(pending.reply.send(Ok(frame)));
                Ok(())
            }
            (pending, got) => {
                let expected = pending.as_ref().map(|p| p.correlation);
                self.pending.extend(pending); // it is told why with the others
                let what = match (expected, got) {
                    (_, None) => String::from("answer without a header"),
                    (None, Some(_)) => String::from("an answer to no question"),
                    (Some(want), Some(got)) => format!("answer {got} where {want} was due"),
                };
                Err(self.failure(FailureClass::Malformed, &what))
            }
        }
    }
}

fn frame_length(incoming: &BytesMut) -> Option<i32> {
    incoming.first_chunk::<4>().map(|n| i32::from_be_bytes(*n))
}

async fn read_some(
    read: &mut ReadHalf<BoxedStream>,
    incoming: &mut BytesMut,
    largest: usize,
) -> io::Result<usize> {
    // A length prefix alone reserves nothing: room grows with the bytes that really come.
    let announced = frame_length(incoming)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= largest)
        .map_or(0, |length| {
            length.saturating_add(4).saturating_sub(incoming.len())
        });
    let room = announced.clamp(READ_AHEAD / 16, READ_AHEAD.max(incoming.len()));
    incoming.reserve(room);
    read.read_buf(incoming).await
}

/// Writes a piece of what is to be sent, then flushes; whether there is more to do.
async fn send_some(
    write: &mut WriteHalf<BoxedStream>,
    outgoing: &mut BytesMut,
    unflushed: bool,
) -> io::Result<bool> {
    if outgoing.is_empty() {
        if unflushed {
            write.flush().await?;
        }
        return Ok(false);
    }
    match write.write_buf(outgoing).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(true),
    }
}
