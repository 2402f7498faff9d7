//! The AT protocol as a value.
//!
//! Bytes and time are the input; bytes to write, results, unsolicited result codes (URCs) and
//! deadlines are the output. There is no I/O, no clock and no task here. The owner of the tty
//! drives an [`Engine`] with five verbs ([`submit`](Engine::submit), [`receive`](Engine::receive),
//! [`handle_timeout`](Engine::handle_timeout), [`poll_transmit`](Engine::poll_transmit),
//! [`poll_event`](Engine::poll_event)) and gets the time of the next call from
//! [`poll_timeout`](Engine::poll_timeout). That makes every race a unit test.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use at::{Answer, Engine, Event, Exchange, Framing};
//!
//! let now = Instant::now();
//! let mut engine = Engine::new(Framing::default(), now);
//! // A port that was just opened may hold anything. The engine asks for the model first.
//! while engine.poll_transmit().is_some() {}
//! engine.receive(b"\r\nSIM7600\r\n\r\nOK\r\n", now);
//! while engine.poll_event().is_some() {}
//!
//! let question = Exchange::new("AT+CSQ", Duration::from_secs(5))?.answer(Answer::Prefix("+CSQ:"));
//! let asked = engine.submit(question, now).expect("the engine is in step");
//! assert_eq!(engine.poll_transmit().as_deref(), Some(&b"AT+CSQ\r"[..]));
//! // A URC inside of the answer is an event of its own.
//! engine.receive(b"\r\n+CREG: 1\r\n\r\n+CSQ: 20,99\r\n\r\nOK\r\n", now);
//! assert!(matches!(engine.poll_event(), Some(Event::Urc(_))));
//! let Some(Event::Completed(ticket, Ok(reply))) = engine.poll_event() else { panic!() };
//! assert_eq!((ticket, &reply.lines[..]), (asked, &["+CSQ: 20,99".to_owned()][..]));
//! # Ok::<(), at::InvalidLine>(())
//! ```
//!
//! The design has three rules:
//!
//! * **The engine knows the exchange in flight.** `+CREG: 0,1` is an answer while `AT+CREG?` is in
//!   flight and a URC otherwise; the line alone does not show it.
//! * **Doubt is resolved before the next command.** After a timeout, a flood, a torn line or a
//!   stray `OK` the engine asks a question that only one answer fits. It is *in step* again only
//!   when that answer and its `OK` came in order. A late answer is never credited to the wrong
//!   command.
//! * **Lengths are obeyed.** Data that a vendor's line announces ([`Framing`]) is cut by length, so
//!   a payload may hold `OK`, `>` or a whole URC. So is the text of a text message (3GPP TS
//!   27.005). After lost bytes, later output is not believed until the modem is in step again.
//!
//! The crate knows ITU-T V.250 and the line grammar of 3GPP TS 27.007. It knows no modem model and
//! nothing of MQTT.

mod engine;
mod exchange;
mod framing;
mod resync;
mod splitter;
mod text_message;

pub use engine::{Cause, Engine, Event, Ticket, Urc};
pub use exchange::{
    Answer, Exchange, Failure, FinalCode, InvalidLine, MAXIMUM, Reply, ResultLine, WaitingFor,
    quote,
};
pub use framing::{Announced, Framing, Guarded, Quoted, Update};
pub use resync::Identity;

#[cfg(test)]
mod tests;
