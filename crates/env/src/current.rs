//! The world of the code that runs now, for the one library that asks for time and tasks without being handed them.

use std::cell::RefCell;
use std::sync::Arc;

use crate::Env;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Env>>> = const { RefCell::new(None) };
}

/// Makes `env` the world of this thread and returns the one before. On real machines a thread has one world from its first
/// replica on; a simulation changes it with every task it polls.
pub fn enter(env: Option<Arc<Env>>) -> Option<Arc<Env>> {
    CURRENT.with(|current| current.replace(env))
}

/// Asks the world of this thread.
///
/// # Panics
/// The thread has none: code of the engine runs where it does not belong.
pub fn current<T>(ask: impl FnOnce(&Env) -> T) -> T {
    let env = CURRENT.with(|current| current.borrow().clone());
    ask(&env.expect("this thread has no world: the engine runs on its replica's thread only"))
}
