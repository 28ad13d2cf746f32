//! One connection: what is in flight on it, and its bytes.

use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Endpoint, Moment, Sender, Shared, Supply, TICK};
use crate::clock::{Clock, nanos};
use crate::tally::{Fate, Tally};

/// Free space offered to each read.
const READ_BYTES: usize = 128 * 1024;

/// The messages in flight on one connection.
#[derive(Debug)]
pub(super) struct Flights {
    /// By token.
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    due: u64,
    sent: u64,
}

impl Flights {
    /// Room for `window` messages.
    fn new(window: usize) -> Self {
        let tokens = 0..u32::try_from(window).unwrap_or(u32::MAX);
        Self { flights: tokens.clone().map(|_| None).collect(), free: tokens.rev().collect() }
    }

    fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    /// Begins a flight; `None` when the window is full.
    fn begin(&mut self, due: u64, sent: u64) -> Option<u32> {
        let token = self.free.pop()?;
        self.flights[token as usize] = Some(Flight { due, sent });
        Some(token)
    }

    /// Ends the flight of `token`; false when there is none: an answer that nobody asked for.
    fn end(&mut self, token: u32, now: u64, fate: Fate, tally: &mut Tally) -> bool {
        let Some(flight) = self.flights.get_mut(token as usize).and_then(Option::take) else { return false };
        self.free.push(token);
        tally.settle(flight.due, flight.sent, now, fate);
        true
    }

    /// Ends all flights.
    fn end_all(&mut self, now: u64, fate: Fate, tally: &mut Tally) {
        for token in 0..u32::try_from(self.flights.len()).unwrap_or(u32::MAX) {
            self.end(token, now, fate, tally);
        }
    }
}

/// A connection and what is in flight on it.
pub(super) struct Link<S> {
    stream: TcpStream,
    sender: S,
    flights: Flights,
    out: BytesMut,
    received: BytesMut,
    /// When something was last heard, or the first flight began.
    heard: u64,
    /// Nothing is sent before.
    hold_until: u64,
}

impl<S: Sender> Link<S> {
    pub(super) fn new(stream: TcpStream, sender: S, window: usize) -> Self {
        Self {
            stream,
            sender,
            flights: Flights::new(window),
            out: BytesMut::new(),
            received: BytesMut::new(),
            heard: 0,
            hold_until: 0,
        }
    }

    /// Sends and receives until the load ends.
    ///
    /// # Errors
    /// The connection is of no more use; all that was in flight has been counted.
    pub(super) async fn drive<E: Endpoint>(
        mut self,
        shared: &Shared<E>,
        supply: &mut Supply,
        pulses: &mut watch::Receiver<()>,
    ) -> Result<()> {
        // A segment that waits for an acknowledgement would be measured as the broker's.
        self.stream.set_nodelay(true)?;
        let outcome = self.exchange(shared, supply, pulses).await;
        let fate = if outcome.is_ok() { Fate::NoAnswer } else { Fate::ConnectionLost };
        self.flights.end_all(shared.clock.now(), fate, &mut shared.tally.borrow_mut());
        outcome
    }

    async fn exchange<E: Endpoint>(
        &mut self,
        shared: &Shared<E>,
        supply: &mut Supply,
        pulses: &mut watch::Receiver<()>,
    ) -> Result<()> {
        let answer_max = nanos(shared.options.answer_max);
        loop {
            let now = shared.clock.now();
            self.fill(now, &shared.clock, supply, shared.span.to);
            let done = now >= shared.span.to && self.flights.is_empty() && supply.unsent(shared.span.to) == 0;
            if done || now >= shared.span.to + answer_max {
                return Ok(());
            }
            if !self.flights.is_empty() && now.saturating_sub(self.heard) > answer_max {
                self.flights.end_all(now, Fate::NoAnswer, &mut shared.tally.borrow_mut());
                bail!("no answer for {} ms", answer_max / 1_000_000);
            }
            self.write()?;
            let interest =
                if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            tokio::select! {
                biased;
                ready = self.stream.ready(interest) => {
                    if ready.context("waiting for the connection")?.is_readable() {
                        self.read(shared)?;
                    }
                }
                changed = pulses.changed() => changed.context("the pulse stopped")?,
            }
        }
    }

    /// Appends what may be sent now.
    fn fill(&mut self, now: u64, clock: &Clock, supply: &mut Supply, end: u64) {
        if now < self.hold_until {
            return;
        }
        let born = clock.wall_us(now) / 1_000;
        while !self.flights.is_full() {
            let Some(due) = supply.take(now, end) else { return };
            if self.flights.is_empty() {
                self.heard = now;
            }
            let Some(token) = self.flights.begin(due, now) else { return };
            self.sender.put(token, Moment { born, due: clock.wall_us(due) }, &mut self.out);
        }
    }

    fn write(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(())
    }

    fn read<E: Endpoint>(&mut self, shared: &Shared<E>) -> Result<()> {
        self.received.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.received) {
            Ok(0) => bail!("the other end closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("receiving"),
        }
        let now = shared.clock.now();
        self.heard = now;
        let mut tally = shared.tally.borrow_mut();
        while let Some(answer) = self.sender.take(&mut self.received)? {
            let fate = if answer.code == 0 { Fate::Stored } else { Fate::Refused(answer.code) };
            if self.flights.end(answer.token, now, fate, &mut tally) && answer.code != 0 {
                // Who is refused and asks again at once measures refusals.
                self.hold_until = now + nanos(TICK);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Span;

    #[test]
    fn a_window_is_never_exceeded_and_every_flight_ends_once() {
        let mut tally = Tally::new(Span { from: 0, to: u64::MAX });
        let mut flights = Flights::new(3);
        assert!(flights.is_empty());
        let tokens: Vec<u32> = (0..3).map(|at| flights.begin(at, at).unwrap()).collect();
        assert_eq!(tokens, [0, 1, 2]);
        assert!(flights.is_full() && flights.begin(9, 9).is_none());
        assert!(flights.end(1, 10, Fate::Stored, &mut tally));
        assert!(!flights.end(1, 11, Fate::Stored, &mut tally), "answered twice");
        assert!(!flights.end(77, 11, Fate::Stored, &mut tally), "never sent");
        assert_eq!(tally.latency.count(), 1);
        assert_eq!(flights.begin(12, 12), Some(1), "its place is free again");
        flights.end_all(20, Fate::ConnectionLost, &mut tally);
        assert!(flights.is_empty());
        assert_eq!(tally.errors[&Fate::ConnectionLost], 3);
    }
}
