//! The broker service, spoken to over loopback as clients do: headers and bodies are looked at, not only codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod entrance;
mod group;
mod harness;
mod hold;
mod locks;
mod members;
mod offsets;
mod pull;
mod query;
mod register;
mod requests;
mod retry;
mod send;
